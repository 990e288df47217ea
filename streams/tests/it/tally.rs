//! The smallest aggregate, and what all tests need to append its events.

use cqrs_es::{Aggregate, DomainEvent, event_sink::EventSink};
use domain::BusinessId;
use serde::{Deserialize, Serialize};
use streams::{
    Actor, CommandContext, Cursor, Database, Nudge, clock,
    log::{CommitError, Histories, Log, StreamKey, UnitOfWork},
};
use testkit::postgres::TestDatabase;

/// Remembers what was counted, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) numbers: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) number: u64,
}

impl DomainEvent for Counted {
    fn event_type(&self) -> String {
        "test.tally.counted.v1".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Tally {
    const TYPE: &'static str = "tally";
    /// What to count, one event each.
    type Command = Vec<u64>;
    type Event = Counted;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        (): &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for number in command {
            sink.write(Counted { number }, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.numbers.push(event.number);
    }
}

pub(crate) fn stream(name: impl std::fmt::Display) -> StreamKey {
    StreamKey::of::<Tally>(name)
}

pub(crate) fn counted(numbers: impl IntoIterator<Item = u64>) -> Vec<Counted> {
    numbers.into_iter().map(|number| Counted { number }).collect()
}

/// A business with a log.
pub(crate) struct Bench {
    pub(crate) business: BusinessId,
    pub(crate) log: Log,
    // Dropped last.
    pub(crate) database: TestDatabase,
}

impl Bench {
    /// For as many at once as there are connections.
    pub(crate) async fn new(connections: u32) -> Self {
        let database = TestDatabase::create().await;
        let log = log_of(&database.app_url(), connections).await;
        Self { business: BusinessId::new(clock::new_id()), log, database }
    }

    pub(crate) fn unit(&self) -> UnitOfWork {
        unit(self.business)
    }

    /// A unit that appends numbers to one stream.
    pub(crate) fn counting(&self, stream: &StreamKey, after: u64, numbers: &[u64]) -> UnitOfWork {
        let mut unit = self.unit();
        unit.append_after(stream, after, counted(numbers.iter().copied())).unwrap();
        unit
    }

    /// Appends numbers to one stream.
    pub(crate) async fn count(
        &self,
        stream: &StreamKey,
        after: u64,
        numbers: &[u64],
    ) -> Result<Cursor, CommitError> {
        self.log.commit(&self.counting(stream, after, numbers)).await
    }

    pub(crate) async fn load(&self, streams: &[StreamKey]) -> Histories {
        self.log.load(self.business, streams).await.unwrap()
    }

    pub(crate) async fn numbers(&self, stream: &StreamKey) -> Vec<u64> {
        let histories = self.load(std::slice::from_ref(stream)).await;
        histories.fold::<Tally>(stream).unwrap().state.numbers
    }
}

pub(crate) fn unit(business: BusinessId) -> UnitOfWork {
    UnitOfWork::new(CommandContext {
        business_id: business,
        actor: Actor::System("test"),
        now: clock::now(),
        origin: streams::Origin::of_our_own(),
    })
}

/// A log for as many at once as there are connections. All are opened now: on a loaded machine many
/// at once take longer than the pool waits.
pub(crate) async fn log_of(url: &str, connections: u32) -> Log {
    let database = Database::new(url, connections).unwrap();
    let (mut tenants, mut system) = (Vec::new(), Vec::new());
    let nobody = BusinessId::new(uuid::Uuid::nil());
    while tenants.len() < usize::try_from(connections).unwrap() {
        tenants.extend(database.tenant(nobody).await);
    }
    while system.is_empty() {
        system.extend(database.system().acquire().await);
    }
    drop((tenants, system));
    Log::new(database, Nudge::default())
}
