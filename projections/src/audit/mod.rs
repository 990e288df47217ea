//! Who did what that matters: sign-ins and refused ones, members, keys, and the edits of owners. The model says
//! which events these are; who did it and what it was is read from the log itself.

mod changes;
mod projector;
mod query;

pub(crate) use changes::AuditChanges;
pub use projector::AuditProjector;
pub use query::{Audit, AuditCursor, AuditFilter, AuditRow};
