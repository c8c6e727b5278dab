"""Signs and checks with the senders' own libraries for Python.

    python sdk.py sign     in: a line of JSON each, {sdk, secret, url, id, unix, body, fields}
                           out: {method, url, headers, body}, or {unsupported} with a reason
    python sdk.py verify   in: {sdk, secret, url, headers, body}
                           out: {accepted}

Bodies are base64; `fields` are those of a form.
"""

import base64
import json
import sys
from datetime import datetime, timezone
from urllib.parse import parse_qsl, urlencode

import standardwebhooks
import stripe
import svix
from slack_sdk.signature import SignatureVerifier
from twilio.request_validator import RequestValidator, get_signature_algorithm

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
SETTINGS = "x-twilio-webhooks-signature-settings"


def at(unix):
    return datetime.fromtimestamp(unix, timezone.utc)


def sign_slack(ask):
    stamp = str(ask["unix"])
    signature = SignatureVerifier(ask["secret"]).generate_signature(timestamp=stamp, body=ask["body"])
    return {"headers": JSON | {"x-slack-signature": signature, "x-slack-request-timestamp": stamp}}


def sign_standardwebhooks(ask):
    signature = standardwebhooks.Webhook(ask["secret"]).sign(ask["id"], at(ask["unix"]), ask["body"])
    headers = {"webhook-id": ask["id"], "webhook-timestamp": str(ask["unix"]), "webhook-signature": signature}
    return {"headers": JSON | headers}


def sign_stripe(ask):
    unix = ask["unix"]
    signature = stripe.WebhookSignature._compute_signature(f"{unix}.{ask['body']}", ask["secret"])
    return {"headers": JSON | {"stripe-signature": f"t={unix},v1={signature}"}}


def sign_svix(ask):
    signature = svix.Webhook(ask["secret"]).sign(ask["id"], at(ask["unix"]), ask["body"])
    headers = {"svix-id": ask["id"], "svix-timestamp": str(ask["unix"]), "svix-signature": signature}
    return {"headers": JSON | headers}


def sign_twilio(ask):
    validator = RequestValidator(ask["secret"])
    token = {"i-twilio-idempotency-token": ask["id"]}
    if ask.get("fields"):
        signature = validator.compute_signature(ask["url"], dict(ask["fields"]))
        headers = FORM | token | {"x-twilio-signature": signature}
        return {"headers": headers, "body": urlencode(dict(ask["fields"]))}
    # a shared key, which names its algorithm
    url = f"{ask['url']}&bodySHA256={validator.compute_hash(ask['body'])}"
    signature = validator.compute_signature(url, {}, "HMAC_SHA256")
    settings = {SETTINGS: "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"}
    return {"url": url, "headers": JSON | token | settings | {"x-twilio-signature": signature}}


SIGN = {
    "slack": sign_slack,
    "standardwebhooks": sign_standardwebhooks,
    "stripe": sign_stripe,
    "svix": sign_svix,
    "twilio": sign_twilio,
}


def passes(check):
    try:
        check()
        return True
    except (stripe.SignatureVerificationError, standardwebhooks.WebhookVerificationError):
        return False


def verify_twilio(ask):
    headers = ask["headers"]
    form = headers["content-type"].startswith("application/x-www-form-urlencoded")
    params = dict(parse_qsl(ask["body"], keep_blank_values=True)) if form else ask["body"]
    algorithm = get_signature_algorithm(headers.get(SETTINGS))
    validator = RequestValidator(ask["secret"])
    return validator.validate(ask["url"], params, headers["x-twilio-signature"], algorithm)


VERIFY = {
    "slack": lambda ask: SignatureVerifier(ask["secret"]).is_valid_request(ask["body"], ask["headers"]),
    "standardwebhooks": lambda ask: passes(
        lambda: standardwebhooks.Webhook(ask["secret"]).verify(ask["body"], ask["headers"])
    ),
    "stripe": lambda ask: passes(
        lambda: stripe.Webhook.construct_event(
            ask["body"], ask["headers"]["stripe-signature"], ask["secret"], api_key="none"
        )
    ),
    "svix": lambda ask: passes(lambda: svix.Webhook(ask["secret"]).verify(ask["body"], ask["headers"])),
    "twilio": verify_twilio,
}


def signed(ask):
    if ask["sdk"] not in SIGN:
        return {"unsupported": "signs no webhooks"}
    made = {"method": "POST", "url": ask["url"], "body": ask["body"]} | SIGN[ask["sdk"]](ask)
    made["body"] = base64.b64encode(made["body"].encode()).decode()
    return made


def main():
    mode = sys.argv[1]
    for line in sys.stdin:
        ask = json.loads(line)
        ask["body"] = base64.b64decode(ask["body"]).decode()
        if mode == "sign":
            answer = signed(ask)
        elif ask["sdk"] in VERIFY:
            answer = {"accepted": VERIFY[ask["sdk"]](ask)}
        else:
            answer = {"unsupported": "checks no webhooks"}
        print(json.dumps(answer), flush=True)


main()
