//! People look and change.

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::LocalLog;
use super::backup::Around;
use super::threads::blocking;
use crate::attempt::Attempt;
use crate::engine::{Engine, EngineError};
use crate::ids::{DeliveryId, Offset};
use crate::log::desk::{Command, Desk};
use crate::log::lane::Lane;
use crate::log::shelf::Shelf;
use crate::log::state;
use crate::log::{
    Act, Actor, Audit, BackupOrder, BackupStatus, Changed, DeadLetter, Find, Found, Operate,
    OperateError, Page, Record, RewindTo, RouteStatus, Selection, WorkError, attempts, codec,
    query,
};

/// Attempts shown of one delivery.
const ATTEMPTS_SHOWN: usize = 1000;

impl LocalLog {
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, OperateError> {
        let (reply, answer) = oneshot::channel();
        let act = Command::Act(Box::new(move |desk| drop(reply.send(act(desk)))));
        self.send(act)
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        answer
            .await
            .map_err(|_| OperateError::Unavailable("the log has stopped".to_owned()))
    }

    /// Has something changed and waits until it is durable.
    pub(in crate::log) async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Desk) -> Result<T, OperateError> + Send + 'static,
    ) -> Result<T, OperateError> {
        let (reply, answer) = oneshot::channel();
        let act = Command::Act(Box::new(move |desk: &mut Desk| {
            let done = act(desk);
            desk.after_commit(move |committed| {
                let failed = |e: WorkError| OperateError::Unavailable(e.to_string());
                drop(reply.send(committed.map_err(failed).and(done)));
            });
        }));
        self.send(act)
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        answer
            .await
            .map_err(|_| OperateError::Unavailable("the log has stopped".to_owned()))?
    }

    /// Decodes records and asks, all at once, where they stand.
    async fn found(
        &self,
        records: Vec<(Offset, bytes::Bytes)>,
        bodies: bool,
    ) -> Result<Vec<Found>, OperateError> {
        let log = self.id();
        let decode = |(offset, record): (Offset, bytes::Bytes)| {
            let (delivery, body_bytes) = query::delivery(&record, bodies)?;
            Ok(Found {
                id: DeliveryId { log, offset },
                delivery,
                body_bytes,
                standings: Vec::new(),
            })
        };
        let found: Result<Vec<Found>, EngineError> = records.into_iter().map(decode).collect();
        let mut found = found.map_err(|e| OperateError::Unavailable(e.to_string()))?;
        let asked: Vec<(String, Offset)> = found
            .iter()
            .map(|found| (found.delivery.envelope.source.clone(), found.id.offset))
            .collect();
        let standings = self
            .ask(move |desk| {
                let stand = |(source, offset): &(String, Offset)| desk.standings(source, *offset);
                asked.iter().map(stand).collect::<Result<Vec<_>, _>>()
            })
            .await??;
        for (found, standings) in found.iter_mut().zip(standings) {
            found.standings = standings;
        }
        Ok(found)
    }

    fn own(&self, id: DeliveryId) -> Result<Offset, OperateError> {
        if id.log == self.id() {
            return Ok(id.offset);
        }
        Err(OperateError::NotFound(format!(
            "delivery {id} is of another log; this one is {}",
            self.id()
        )))
    }

    async fn route_names(&self, only: Option<String>) -> Result<Vec<String>, OperateError> {
        let names: Vec<String> = self
            .ask(|desk| {
                desk.lender
                    .lanes()
                    .map(|lane| lane.name().to_owned())
                    .collect()
            })
            .await?;
        match only {
            Some(only) if !names.contains(&only) => {
                Err(OperateError::NotFound(format!("no route `{only}`")))
            }
            Some(only) => Ok(vec![only]),
            None => Ok(names),
        }
    }

    async fn change_dead(
        &self,
        which: Selection,
        revive: bool,
        actor: Actor,
    ) -> Result<Changed, OperateError> {
        let anything = which.all
            || !which.ids.is_empty()
            || [&which.route, &which.source, &which.event, &which.reason]
                .iter()
                .any(|part| part.is_some())
            || which.since.is_some()
            || which.until.is_some()
            || which.status.is_some();
        if !anything {
            return Err(OperateError::Invalid(
                "say which dead letters: ids, a filter, or all".to_owned(),
            ));
        }
        for id in &which.ids {
            self.own(*id)?;
        }
        let routes = self.route_names(which.route.clone()).await?;
        let engine = self.engine.clone();
        let (dry_run, subject) = (which.dry_run, describe(&which));
        let (chosen, more) = blocking(move || query::select(&*engine, &routes, &which))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        if dry_run {
            return Ok(Changed {
                count: chosen.len() as u64,
                more,
            });
        }
        let count = self
            .change(move |desk| desk.change_dead(&chosen, revive, &actor, &subject))
            .await?;
        Ok(Changed { count, more })
    }
}

fn describe(which: &Selection) -> String {
    let mut parts = Vec::new();
    let texts = [
        ("route", &which.route),
        ("source", &which.source),
        ("event", &which.event),
        ("reason", &which.reason),
    ];
    parts.extend(
        texts
            .iter()
            .filter_map(|(name, text)| Some(format!("{name}={}", text.as_ref()?))),
    );
    parts.extend(which.status.map(|status| format!("status={status}")));
    parts.extend(which.since.map(|since| format!("since={since}")));
    parts.extend(which.until.map(|until| format!("until={until}")));
    match which.ids.as_slice() {
        [] => {}
        [id] => parts.push(id.to_string()),
        ids => parts.push(format!("{} and {} more", ids[0], ids.len() - 1)),
    }
    if parts.is_empty() {
        "all".to_owned()
    } else {
        parts.join(" ")
    }
}

#[async_trait]
impl Operate for LocalLog {
    async fn find(&self, find: Find) -> Result<Page<Found>, OperateError> {
        let (shelf, asked) = (self.shelf.clone(), find.clone());
        let page = blocking(move || query::records(&shelf, &asked))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        let mut items = self.found(page.items, find.bodies).await?;
        if let Some(only) = &find.route {
            items.retain(|found| found.standings.iter().any(|(route, _)| route == only));
        }
        Ok(Page {
            items,
            next: page.next,
        })
    }

    async fn show(&self, id: DeliveryId) -> Result<Found, OperateError> {
        let offset = self.own(id)?;
        let shelf = self.shelf.clone();
        let record = blocking(move || shelf.record(offset))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))?
            .ok_or_else(|| OperateError::NotFound(format!("no delivery {id}")))?;
        let found = self.found(vec![(offset, record)], true).await?.pop();
        found.ok_or_else(|| OperateError::NotFound(format!("no delivery {id}")))
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, OperateError> {
        let offset = self.own(id)?;
        let engine = self.engine.clone();
        blocking(move || attempts::of(&*engine, offset, ATTEMPTS_SHOWN))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))
    }

    async fn dead(&self, find: Find) -> Result<Page<DeadLetter>, OperateError> {
        let routes = self.route_names(find.route.clone()).await?;
        let (engine, log) = (self.engine.clone(), self.id());
        blocking(move || query::dead(&*engine, log, &routes, &find))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))
    }

    async fn reprocess(&self, which: Selection, actor: Actor) -> Result<Changed, OperateError> {
        if !which.dry_run {
            self.gate.pass_operator()?;
        }
        self.change_dead(which, true, actor).await
    }

    async fn discard(&self, which: Selection, actor: Actor) -> Result<Changed, OperateError> {
        self.change_dead(which, false, actor).await
    }

    async fn routes(&self) -> Result<Vec<RouteStatus>, OperateError> {
        self.ask(|desk| {
            desk.lender
                .lanes()
                .map(|lane| status(lane, &desk.shelf, &*desk.engine))
                .collect()
        })
        .await
    }

    async fn pause(&self, route: &str, actor: Actor) -> Result<(), OperateError> {
        self.gate.pass_operator()?;
        let route = route.to_owned();
        self.change(move |desk| desk.set_paused(&route, true, &actor))
            .await
    }

    async fn resume(&self, route: &str, actor: Actor) -> Result<(), OperateError> {
        let route = route.to_owned();
        self.change(move |desk| desk.set_paused(&route, false, &actor))
            .await
    }

    async fn rewind(&self, route: &str, to: RewindTo, actor: Actor) -> Result<u64, OperateError> {
        self.gate.pass_operator()?;
        let route = route.to_owned();
        self.change(move |desk| {
            let offset = match to {
                RewindTo::Beginning => 0,
                RewindTo::Offset(offset) => offset,
                RewindTo::Time(time) => desk
                    .shelf
                    .spans()
                    .first_since(time)
                    .unwrap_or(desk.shelf.height()),
            };
            desk.rewind(&route, offset, &actor)
        })
        .await
    }

    async fn rename(&self, from: &str, to: &str, actor: Actor) -> Result<(), OperateError> {
        self.gate.pass_operator()?;
        let (from, to) = (from.to_owned(), to.to_owned());
        self.change(move |desk| desk.rename(&from, &to, &actor))
            .await
    }

    async fn forget(&self, route: &str, actor: Actor) -> Result<(), OperateError> {
        let route = route.to_owned();
        self.change(move |desk| desk.forget(&route, &actor)).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<Audit>, OperateError> {
        let engine = self.engine.clone();
        let limit = limit.clamp(1, crate::log::PAGE_MAX) as usize;
        let entries = blocking(move || engine.scan(b"a", &state::end_of(b'a'), limit))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        let read = |(_, value): (Vec<u8>, Vec<u8>)| {
            codec::from_slice(&value).map_err(|e| OperateError::Unavailable(e.to_string()))
        };
        entries.into_iter().map(read).collect()
    }

    async fn backup(&self, order: BackupOrder, actor: Actor) -> Result<BackupStatus, OperateError> {
        let around = Around {
            engine: self.engine.clone(),
            at: self.clock.now().wall,
            keep_free: self.reserve_bytes,
        };
        self.backups.begin(around, order, actor).await
    }

    async fn backup_status(&self) -> Result<BackupStatus, OperateError> {
        Ok(self.backups.status())
    }
}

#[async_trait]
impl Record for LocalLog {
    async fn record(&self, act: Act, actor: Actor) -> Result<(), OperateError> {
        self.change(move |desk| {
            desk.record(act.action, &act.subject, act.count, &actor);
            Ok(())
        })
        .await
    }
}

fn status(lane: &Lane, shelf: &Shelf, engine: &dyn Engine) -> RouteStatus {
    let counts = lane.counts();
    let cursor = lane.cursor();
    let (pending, mut oldest) = {
        // let go before the state store is asked: the committer needs it
        let spans = shelf.spans();
        let pending = spans.count_from(cursor.next(), lane.bit()) + counts.returned;
        let unsettled = pending + counts.open > 0;
        let oldest = unsettled
            .then(|| spans.received_from(cursor.floor(), lane.bit()))
            .flatten();
        (pending, oldest)
    };
    if counts.waiting > 0
        && let Ok(first) = state::waiting(engine, lane.name(), 1)
        && let Some((_, _, entry)) = first.first()
    {
        oldest = Some(oldest.map_or(entry.received_at, |oldest| oldest.min(entry.received_at)));
    }
    RouteStatus {
        name: lane.name().to_owned(),
        source: lane.record().source.clone(),
        destination: lane.config().map(|config| config.destination.clone()),
        paused: lane.record().paused,
        floor: cursor.floor(),
        pending,
        open: counts.open,
        waiting: counts.waiting,
        dead: counts.dead,
        oldest,
        breaker: lane.breaker().to_owned(),
        delivered: counts.delivered,
        unmatched: counts.unmatched,
        epoch: lane.record().epoch,
    }
}
