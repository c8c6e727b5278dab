//! What any log must do, whatever is underneath it and however far away it is.
//!
//! One list of behaviours, in a file per subject, run for the log over each engine and for the log
//! seen over HTTP. Time stands still but for [`Subject::pass`].

mod intake;
mod leases;
mod operators;
mod routes;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::attempt::Report;
use crate::config::{self, Config};
use crate::ids::{DeliveryId, Offset};
use crate::log::local::Surroundings;
use crate::log::{
    Actor, Appended, Find, Intake, Lease, LeaseRequest, Operate, Settled, Standing, Unobserved,
    Want, Work, codec,
};
use crate::outcome::Outcome;
use crate::testkit::clock::ManualClock;
use crate::testkit::sample;
use crate::time::Clock;

/// A log to be examined.
#[derive(Clone)]
pub struct Subject {
    /// Takes deliveries in.
    pub intake: Arc<dyn Intake>,
    /// As workers see it.
    pub work: Arc<dyn Work>,
    /// As operators see it.
    pub operate: Arc<dyn Operate>,
    /// Its time.
    pub clock: Arc<ManualClock>,
}

type Opening<'a> = Pin<Box<dyn Future<Output = Subject> + Send + 'a>>;

/// Opens logs: a fresh one, or the last one again, as after a crash.
pub trait Openings: Send {
    /// A log with nothing in it.
    fn fresh(&mut self, config: Config) -> Opening<'_>;
    /// The last log, stopped without warning and opened again with this configuration.
    fn again(&mut self, config: Config) -> Opening<'_>;
}

/// A configuration with a source `s`, a destination `d`, and what is given besides.
///
/// # Panics
/// When it is not valid.
pub fn config(more: &str) -> Config {
    let text = format!(
        "[log]\nengine = \"memory\"\nlease = \"60s\"\nlost_max = 2\nreserve = \"0B\"\n\
         [sources.s]\nprovider = \"none\"\n[sources.other]\nprovider = \"none\"\n\
         [destinations.d]\ntype = \"stdout\"\n{more}"
    );
    config::parse(
        &text,
        std::path::Path::new("creel.toml"),
        &config::Known::default(),
    )
    .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// What is around a log under test: nobody looks on, and an engine that fails fails the test.
pub fn surroundings(clock: &Arc<ManualClock>, dice: u64) -> Surroundings {
    Surroundings {
        clock: clock.clone(),
        dice,
        observer: Arc::new(Unobserved),
        on_failure: Arc::new(|error| panic!("{error}")),
    }
}

const ROUTE: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"r\"\n\
                     retry = { max_attempts = 3, initial = \"10s\", max = \"10s\" }\n\
                     breaker = { failures = 0 }\n";

/// Runs every behaviour. One thread is enough.
///
/// # Panics
/// When the log does not behave.
pub async fn log_conformance(openings: &mut dyn Openings) {
    intake::what_is_appended_is_leased_in_order_byte_for_byte(openings).await;
    intake::a_repeat_gets_the_first_id_even_after_a_crash(openings).await;
    intake::two_identical_requests_in_flight_are_one_delivery(openings).await;
    intake::a_known_key_with_another_body_is_stored(openings).await;
    leases::settled_is_settled_after_a_crash_and_the_rest_comes_again(openings).await;
    leases::the_same_lease_request_gets_the_same_lease(openings).await;
    leases::a_stale_lease_changes_nothing(openings).await;
    leases::a_failed_try_waits_and_dies_after_its_attempts(openings).await;
    leases::a_lost_try_is_leased_alone_and_dies(openings).await;
    leases::a_release_uses_up_no_attempt(openings).await;
    operators::a_dead_letter_is_reprocessed_or_discarded(openings).await;
    routes::a_rewound_route_gets_everything_again_with_another_generation(openings).await;
    routes::a_paused_route_lends_nothing_even_after_a_crash(openings).await;
    routes::a_route_takes_what_matches(openings).await;
    routes::one_delivery_goes_to_every_route(openings).await;
    routes::a_new_route_starts_where_it_should(openings).await;
    routes::an_orphaned_route_is_kept_renamed_or_forgotten(openings).await;
    operators::what_is_asked_for_is_found(openings).await;
    operators::attempts_are_kept(openings).await;
    operators::acts_are_recorded(openings).await;
    leases::a_bounded_lease_takes_no_more_than_was_wanted(openings).await;
    leases::nobody_gets_what_is_not_configured(openings).await;
}

impl Subject {
    async fn append(&self, body: impl Into<Bytes>) -> Appended {
        self.intake
            .append(sample::delivery("s", body, self.clock.wall()))
            .await
            .expect("the log takes it")
    }

    async fn append_keyed(&self, key: &str, body: impl Into<Bytes>) -> Appended {
        self.intake
            .append(sample::keyed("s", key, body, self.clock.wall()))
            .await
            .expect("the log takes it")
    }

    /// Leases what there is of a route now.
    pub async fn lease(&self, route: &str) -> Vec<Lease> {
        self.lease_as(&format!("{}", rand::random::<u64>()), route, 100)
            .await
    }

    async fn lease_as(&self, request: &str, route: &str, max_items: u32) -> Vec<Lease> {
        self.work
            .lease(request_for(request, route, max_items))
            .await
            .expect("it lends")
    }

    async fn settle(&self, lease: &Lease, outcome: &Outcome) {
        let settled = lease
            .items
            .iter()
            .map(|item| settled(item.offset, outcome))
            .collect();
        self.work
            .settle(lease.id, settled)
            .await
            .expect("it settles");
    }

    /// Time passes, and the log notices.
    pub async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        // whoever asks is answered as of now: the first question ends leases whose time is over, and
        // what that changes is written before the second is answered
        for _ in 0..2 {
            self.operate.routes().await.expect("it answers");
        }
    }

    async fn standing(&self, id: DeliveryId) -> Standing {
        let found = self.operate.show(id).await.expect("it is there");
        found
            .standings
            .into_iter()
            .find(|(route, _)| route == "r")
            .expect("its route")
            .1
    }

    async fn dead(&self) -> Vec<DeliveryId> {
        let page = self.operate.dead(Find::default()).await.expect("it lists");
        page.items.into_iter().map(|letter| letter.id).collect()
    }
}

/// Asks for what there is of a route now: at most so many deliveries, and 1 MiB.
pub fn request_for(request: &str, route: &str, max_items: u32) -> LeaseRequest {
    LeaseRequest {
        request: request.to_owned(),
        worker: "test".to_owned(),
        wants: vec![Want {
            route: route.to_owned(),
            max_items,
            max_bytes: 1 << 20,
        }],
        wait: Duration::ZERO,
    }
}

fn settled(offset: Offset, outcome: &Outcome) -> Settled {
    Settled {
        offset,
        outcome: outcome.clone(),
        report: Report {
            status: Some(500),
            error: Some("it said no".to_owned()),
            ..Report::default()
        },
    }
}

fn offsets(leases: &[Lease]) -> Vec<Offset> {
    leases
        .iter()
        .flat_map(|lease| lease.items.iter().map(|item| item.offset))
        .collect()
}

fn body(record: &Bytes) -> Bytes {
    codec::decode(record).expect("a record").body
}

fn who() -> Actor {
    Actor {
        who: "tester".to_owned(),
        why: Some("because".to_owned()),
    }
}

const RETRY: Outcome = Outcome::Retry { after: None };
