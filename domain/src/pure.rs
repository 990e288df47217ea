//! The one shape of every aggregate: decide without I/O, then write what was decided.

use cqrs_es::Aggregate;

/// An aggregate whose rules are a pure, synchronous function.
pub trait Decide: Aggregate {
    /// Which events does this command cause? An empty list means "already so", so that a retry
    /// of something done succeeds.
    ///
    /// # Errors
    /// The rule that refused.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// Takes a fact in. Cannot fail: what is stored has happened.
    fn evolve(&mut self, event: Self::Event);
}

/// Implements [`Aggregate`] from [`Decide`]: `handle` only writes to the sink.
macro_rules! pure_aggregate {
    ($aggregate:ident, $type:literal, $command:ty, $event:ty, $error:ty) => {
        impl cqrs_es::Aggregate for $aggregate {
            const TYPE: &'static str = $type;
            type Command = $command;
            type Event = $event;
            type Error = $error;
            type Services = ();

            async fn handle(
                &mut self,
                command: Self::Command,
                (): &Self::Services,
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                for event in $crate::Decide::decide(self, command)? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: Self::Event) {
                $crate::Decide::evolve(self, event);
            }
        }
    };
}
pub(crate) use pure_aggregate;

/// Names each variant's stored type; every event of this build is written in version 1 of its type.
macro_rules! event_types {
    ($event:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $event {
            /// Every stored type name of this stream.
            pub const TYPES: &'static [&'static str] = &[$($name),+];
        }

        impl cqrs_es::DomainEvent for $event {
            fn event_type(&self) -> String {
                match self { $(Self::$variant { .. } => $name),+ }.to_owned()
            }

            fn event_version(&self) -> String {
                "1".to_owned()
            }
        }
    };
}
pub(crate) use event_types;
