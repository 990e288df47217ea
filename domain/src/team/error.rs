/// Why a user's place was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TeamError {
    /// A business without an owner could be managed by nobody.
    #[error("the business needs an owner: make somebody else one first")]
    LastOwner,
    /// Who is an owner, and who becomes one, is for owners to say.
    #[error("only an owner may make or unmake owners")]
    OwnersOnly,
    /// A place of the role `staff` is that of a staff member, and no other is.
    #[error("the role staff needs the staff member whose calendar is theirs")]
    NoCalendar,
}
