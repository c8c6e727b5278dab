//! The packs that are compiled in, and those a user adds.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::document::{Problem, nearest};
use super::pack::{Pack, PackError};

/// Each name with its file.
macro_rules! built_in {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../providers/", $name, ".toml")))),*]
    };
}

/// Every built-in pack: its name and its file. The only list of them.
const BUILT_IN: &[(&str, &str)] = built_in! {
    "adobe-sign"
    "adyen"
    "aftership"
    "airtable"
    "airwallex"
    "anthropic"
    "asana"
    "assemblyai"
    "auth0"
    "authorize-net"
    "aws-sns"
    "azure-devops"
    "azure-event-grid"
    "bandwidth"
    "basic"
    "bigcommerce"
    "bitbucket"
    "box"
    "braintree"
    "brevo"
    "brex"
    "buildkite"
    "cal-com"
    "calendly"
    "chargebee"
    "checkout-com"
    "circleci"
    "clerk"
    "clickup"
    "cloudevents"
    "cloudflare-notifications"
    "cloudflare-stream"
    "coinbase-commerce"
    "contentful"
    "crisp"
    "customerio"
    "datadog"
    "datocms"
    "daytona"
    "deepgram"
    "discord"
    "docusign"
    "dodo-payments"
    "dropbox"
    "dropbox-sign"
    "dwolla"
    "easypost"
    "elevenlabs"
    "expo-eas"
    "fastspring"
    "figma"
    "fireblocks"
    "fitbit"
    "flutterwave"
    "flutterwave-v3"
    "front-app"
    "front-rule"
    "fusionauth"
    "fusionauth-hmac"
    "getstream"
    "ghost"
    "gitea"
    "github"
    "gitlab"
    "gitlab-signed"
    "gocardless"
    "google-pubsub"
    "google-push-channel"
    "grafana"
    "helpscout"
    "heroku"
    "hmac"
    "hubspot"
    "hugging-face"
    "incident-io"
    "intercom"
    "jira"
    "klaviyo"
    "lark"
    "launchdarkly"
    "lemonsqueezy"
    "line"
    "linear"
    "linkedin"
    "lithic"
    "liveblocks"
    "livekit"
    "loops"
    "mailchimp"
    "mailgun"
    "mailjet"
    "mandrill"
    "mercadopago"
    "messagebird"
    "meta"
    "microsoft-graph"
    "miro"
    "modern-treasury"
    "mollie"
    "mollie-classic"
    "monday"
    "mux"
    "netlify"
    "none"
    "notion"
    "novu"
    "nylas"
    "okta"
    "onfido"
    "onfleet"
    "openai"
    "paddle"
    "pagerduty"
    "pandadoc"
    "paypal"
    "paystack"
    "persona"
    "plaid"
    "plivo"
    "polar"
    "postmark"
    "prismic"
    "pusher"
    "quickbooks"
    "razorpay"
    "recall-ai"
    "recharge"
    "recurly"
    "render"
    "replicate"
    "resend"
    "retell"
    "revenuecat"
    "ringcentral"
    "sanity"
    "segment"
    "sendgrid"
    "sentry"
    "shippo"
    "shopify"
    "signalwire"
    "sinch"
    "slack"
    "smartsheet"
    "snyk"
    "sparkpost"
    "square"
    "standardwebhooks"
    "standardwebhooks-v1a"
    "storyblok"
    "strapi"
    "strava"
    "stripe"
    "sumsub"
    "supabase-auth-hook"
    "svix"
    "tailscale"
    "tally"
    "teams-outgoing"
    "telegram"
    "telnyx"
    "terraform-cloud"
    "tiktok"
    "todoist"
    "token"
    "travis-ci"
    "trello"
    "twilio"
    "twitch"
    "typeform"
    "vapi"
    "vercel"
    "veriff"
    "vonage"
    "webex"
    "webflow"
    "websub"
    "wechat"
    "wise"
    "withings"
    "woocommerce"
    "workos"
    "x"
    "xero"
    "zendesk"
    "zoom"
};

/// Packs by name.
#[derive(Debug)]
pub struct Registry {
    packs: BTreeMap<String, Arc<Pack>>,
}

impl Registry {
    /// The packs that are compiled in.
    pub fn built_in() -> Self {
        // read once: each is some hundred lines of TOML and pipelines
        static PACKS: LazyLock<BTreeMap<String, Arc<Pack>>> = LazyLock::new(|| {
            let read = |(name, text): &(&str, &str)| {
                let pack = Pack::parse(name, text)
                    .unwrap_or_else(|error| panic!("a test reads every built-in pack: {error}"));
                ((*name).to_owned(), Arc::new(pack))
            };
            BUILT_IN.iter().map(read).collect()
        });
        Self {
            packs: PACKS.clone(),
        }
    }

    /// Takes in a pack of the user's own.
    ///
    /// # Errors
    /// The name is that of a built-in pack and the pack does not say that it
    /// replaces it, or says so and there is none.
    pub(crate) fn place(&mut self, pack: Pack) -> Result<(), Problem> {
        let name = pack.name().to_owned();
        let built_in = BUILT_IN.iter().any(|(other, _)| *other == name);
        let message = match (built_in, pack.replaces_built_in()) {
            (true, false) => format!(
                "there is a built-in pack `{name}`: call the file otherwise, or say `replaces_built_in = true`"
            ),
            (false, true) => format!("there is no built-in pack `{name}` to replace"),
            _ => {
                self.packs.insert(name, Arc::new(pack));
                return Ok(());
            }
        };
        Err(Problem {
            line: 1,
            column: 1,
            at: "replaces_built_in".into(),
            message,
        })
    }

    /// Adds a pack under a name, whatever was there.
    ///
    /// # Errors
    /// [`PackError`] with every problem, each with line and column.
    pub fn add(&mut self, name: &str, text: &str) -> Result<Arc<Pack>, PackError> {
        let pack = Arc::new(Pack::parse(name, text)?);
        self.packs.insert(name.to_owned(), pack.clone());
        Ok(pack)
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Pack>> {
        self.packs.get(name)
    }

    /// In order of their names.
    pub fn packs(&self) -> impl Iterator<Item = &Arc<Pack>> {
        self.packs.values()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.packs.keys().map(String::as_str)
    }

    /// The name that an unknown one was probably meant to be.
    pub fn did_you_mean(&self, name: &str) -> Option<&str> {
        nearest(name, self.names())
    }
}
