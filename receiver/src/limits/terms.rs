//! On what terms requests to a source are let in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use creel_common::config::{self, Rate};
use ipnet::IpNet;

use super::account::Account;
use super::addresses::Addresses;
use super::pace::{Bucket, Pace};
use crate::forwarded::Origin;
use crate::reply::Refused;
use crate::verify::Retry;

/// The terms of one source. What holds for one that does not exist is the same as for the one that it
/// looks like.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Networks that requests may come from; any if there are none.
    allow: Vec<IpNet>,
    /// Of all that is taken.
    rate: Option<Arc<Bucket>>,
    /// Of what one address asks for.
    per_address: Option<PerAddress>,
    /// How it is told to senders that they are over a rate.
    over_status: u16,
}

#[derive(Debug, Clone)]
struct PerAddress {
    pace: Pace,
    /// What it is counted for: the source, or nothing for all sources together.
    scope: String,
}

impl PerAddress {
    fn new(rate: Rate, scope: &str) -> Self {
        Self {
            pace: Pace::new(rate),
            scope: scope.to_owned(),
        }
    }
}

impl Terms {
    /// Those of a configured source, whose sender tries again as its pack says.
    pub fn new(
        receiver: &config::Receiver,
        source: &config::Source,
        account: &Account,
        retry: &Retry,
    ) -> Self {
        let own = source.rate_per_address;
        let own = own.map(|rate| PerAddress::new(rate, &source.name));
        let common = Self::of_all(receiver);
        Self {
            allow: source.allow.clone(),
            rate: source.rate.map(|rate| account.bucket(Pace::new(rate))),
            per_address: own.or(common.per_address),
            over_status: over_status(retry),
        }
    }

    /// Those that hold where nothing is said of a source.
    pub fn of_all(receiver: &config::Receiver) -> Self {
        let rate = receiver.rate_per_address;
        Self {
            allow: Vec::new(),
            rate: None,
            per_address: rate.map(|rate| PerAddress::new(rate, "")),
            over_status: 429,
        }
    }

    /// Whether requests from that address are taken at all.
    ///
    /// # Errors
    /// [`Refused::Address`].
    pub fn allow(&self, remote: IpAddr) -> Result<(), Refused> {
        let is_in = |net: &IpNet| net.contains(&remote);
        match self.allow.is_empty() || self.allow.iter().any(is_in) {
            true => Ok(()),
            false => Err(Refused::Address),
        }
    }

    /// Whether one more request may come now, by its head alone: takes one from its address, and
    /// nothing from the source.
    ///
    /// Who stands behind a trusted proxy that does not say is not known, and has no rate.
    ///
    /// # Errors
    /// [`Refused::OverRate`].
    pub fn admit(
        &self,
        origin: &Origin<'_>,
        addresses: &Addresses,
        now: Duration,
    ) -> Result<(), Refused> {
        if let Some(PerAddress { pace, scope }) = &self.per_address
            && !origin.is_proxy
        {
            let taken = addresses.take(scope, *pace, origin.remote, now);
            taken.map_err(|wait| self.over("rate_per_address", wait))?;
        }
        let looked = self.rate.as_ref().map_or(Ok(()), |rate| rate.look(now));
        looked.map_err(|wait| self.over("rate", wait))
    }

    /// Takes one from the source's rate, for what is verified.
    ///
    /// # Errors
    /// [`Refused::OverRate`].
    pub fn take(&self, now: impl FnOnce() -> Duration) -> Result<(), Refused> {
        let taken = self.rate.as_ref().map_or(Ok(()), |rate| rate.take(now()));
        taken.map_err(|wait| self.over("rate", wait))
    }

    fn over(&self, setting: &'static str, wait: Duration) -> Refused {
        Refused::OverRate {
            setting,
            status: self.over_status,
            wait,
        }
    }
}

/// 429 says it best. Only a sender that is known to come back for 503 and not for 429 is told 503:
/// what it does not repeat is lost.
fn over_status(retry: &Retry) -> u16 {
    match retry.on_status(503) && !retry.on_status(429) {
        true => 503,
        false => 429,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_told_what_makes_it_come_back() {
        let told = |on: &[&str]| {
            over_status(&Retry {
                on: on.iter().map(ToString::to_string).collect(),
                ..Retry::default()
            })
        };
        assert_eq!(told(&["connect", "timeout", "3xx", "4xx", "5xx"]), 429);
        assert_eq!(told(&["429", "5xx"]), 429);
        assert_eq!(told(&["connect", "timeout", "5xx"]), 503);
        assert_eq!(told(&["503"]), 503);
        // it comes back for nothing, or nobody knows
        assert_eq!(told(&[]), 429);
        assert_eq!(told(&["connect"]), 429);
    }
}
