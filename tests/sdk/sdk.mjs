// Signs and checks with the senders' own libraries for Node.
//
//   node sdk.mjs sign     in: a line of JSON each, { sdk, secret, url, id, unix, body, fields }
//                         out: { method, url, headers, body }, or { unsupported } with a reason
//   node sdk.mjs verify   in: { sdk, secret, url, headers, body }
//                         out: { accepted }
//
// Bodies are base64; `fields` are those of a form. The libraries are in $CREEL_SDKS/node_modules.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.CREEL_SDKS}/`);
const { Webhooks } = require("@octokit/webhooks");
const { isValidSlackRequest } = require("@slack/bolt");
const standardwebhooks = require("standardwebhooks");
const Stripe = require("stripe");
const svix = require("svix");
const twilio = require("twilio");
require("@shopify/shopify-api/adapters/node");
const { createSHA256HMAC } = require("@shopify/shopify-api/runtime");
const { shopifyApi, LogSeverity } = require("@shopify/shopify-api");

const json = { "content-type": "application/json" };

const sign = {
  async github({ secret, body, id }) {
    const signature = await new Webhooks({ secret }).sign(body);
    return { headers: { ...json, "x-hub-signature-256": signature, "x-github-event": "push", "x-github-delivery": id } };
  },
  async shopify({ secret, body, id }) {
    const signature = await createSHA256HMAC(secret, body);
    return { headers: { ...json, "x-shopify-hmac-sha256": signature, "x-shopify-topic": "orders/create", "x-shopify-webhook-id": id } };
  },
  async standardwebhooks({ secret, body, id, unix }) {
    const signature = new standardwebhooks.Webhook(secret).sign(id, new Date(unix * 1000), body);
    return { headers: { ...json, "webhook-id": id, "webhook-timestamp": `${unix}`, "webhook-signature": signature } };
  },
  async stripe({ secret, body, unix }) {
    const signature = Stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp: unix });
    return { headers: { ...json, "stripe-signature": signature } };
  },
  async svix({ secret, body, id, unix }) {
    const signature = new svix.Webhook(secret).sign(id, new Date(unix * 1000), body);
    return { headers: { ...json, "svix-id": id, "svix-timestamp": `${unix}`, "svix-signature": signature } };
  },
  async twilio({ secret, url, body, fields, id }) {
    if (fields) {
      const signature = twilio.getExpectedTwilioSignature(secret, url, Object.fromEntries(fields));
      const headers = { "content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature, "i-twilio-idempotency-token": id };
      return { headers, body: new URLSearchParams(fields).toString() };
    }
    const hashed = `${url}&bodySHA256=${twilio.getExpectedBodyHash(body)}`;
    const signature = twilio.getExpectedTwilioSignature(secret, hashed, {});
    return { url: hashed, headers: { ...json, "x-twilio-signature": signature, "i-twilio-idempotency-token": id } };
  },
};

const verify = {
  github: ({ secret, headers, body }) => new Webhooks({ secret }).verify(body, headers["x-hub-signature-256"]),
  async shopify({ secret, headers, body, url }) {
    const api = shopifyApi({
      apiKey: "key", apiSecretKey: secret, hostName: "hooks.example.com", isEmbeddedApp: false,
      apiVersion: headers["x-shopify-api-version"], logger: { level: LogSeverity.Error },
    });
    const result = await api.webhooks.validate({ rawBody: body, rawRequest: { headers, url, method: "POST" }, rawResponse: {} });
    return result.valid;
  },
  slack: ({ secret, headers, body }) => isValidSlackRequest({
    signingSecret: secret, body,
    headers: { "x-slack-signature": headers["x-slack-signature"], "x-slack-request-timestamp": Number(headers["x-slack-request-timestamp"]) },
  }),
  standardwebhooks: ({ secret, headers, body }) => passes(() => new standardwebhooks.Webhook(secret).verify(body, headers)),
  stripe: ({ secret, headers, body }) => passes(() => Stripe.webhooks.constructEvent(body, headers["stripe-signature"], secret)),
  svix: ({ secret, headers, body }) => passes(() => new svix.Webhook(secret).verify(body, headers)),
  twilio({ secret, url, headers, body }) {
    const signature = headers["x-twilio-signature"];
    if (headers["content-type"].startsWith("application/json")) {
      return twilio.validateRequestWithBody(secret, signature, url, body);
    }
    return twilio.validateRequest(secret, signature, url, Object.fromEntries(new URLSearchParams(body)));
  },
};

function passes(check) {
  try {
    check();
    return true;
  } catch (error) {
    if (error instanceof TypeError) throw error;
    return false;
  }
}

async function signed(request) {
  if (!sign[request.sdk]) return { unsupported: "only verifies" };
  try {
    const { url = request.url, headers, body = request.body } = await sign[request.sdk](request);
    return { method: "POST", url, headers, body: Buffer.from(body).toString("base64") };
  } catch (error) {
    return { unsupported: `${error.message}` };
  }
}

const mode = process.argv[2];
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  request.body = Buffer.from(request.body, "base64").toString("utf8");
  const answer = mode === "sign" ? await signed(request) : { accepted: await verify[request.sdk](request) };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
