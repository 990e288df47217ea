use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use streams::log::{GuestAddress, KnownCustomer};

/// Guests of one business in one generation: so many more have to be met before one is dropped.
const MOST: usize = 500;

/// Who was met of late in one business, by address: `None` for one whom the business does not know.
///
/// What is kept may be old: another process may have met the guest since, or changed or merged them. The
/// table refuses to take one e-mail address twice, the guard of a booking refuses a customer who has
/// changed, and whoever is refused forgets what was kept and asks again. A phone number that two
/// processes meet at once may make two customers: it is no proof of who somebody is anyway.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<Generations>);

type Met = HashMap<GuestAddress, Option<KnownCustomer>>;

#[derive(Debug, Default)]
struct Generations {
    young: Met,
    old: Met,
}

impl Generations {
    fn get(&self, address: &GuestAddress) -> Option<&Option<KnownCustomer>> {
        self.young.get(address).or_else(|| self.old.get(address))
    }

    fn keep(&mut self, address: GuestAddress, known: Option<KnownCustomer>) {
        if self.young.len() >= MOST {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(address, known);
    }
}

impl Guests {
    fn met(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was looked up.
    pub(crate) fn knows_of(&self, address: &GuestAddress) -> bool {
        self.met().get(address).is_some()
    }

    pub(crate) fn get(&self, address: &GuestAddress) -> Option<KnownCustomer> {
        self.met().get(address).copied().flatten()
    }

    /// Takes in what was looked up. What became known meanwhile is newer.
    pub(crate) fn found(&self, address: GuestAddress, known: Option<KnownCustomer>) {
        let mut met = self.met();
        if met.get(&address).is_none() {
            met.keep(address, known);
        }
    }

    /// Takes in that a guest becomes known.
    pub(crate) fn greet(&self, address: GuestAddress, known: KnownCustomer) {
        self.met().keep(address, Some(known));
    }

    pub(crate) fn forget<'a>(&self, addresses: impl IntoIterator<Item = &'a GuestAddress>) {
        let mut met = self.met();
        for address in addresses {
            met.young.remove(address);
            met.old.remove(address);
        }
    }

    pub(crate) fn forget_all(&self) {
        *self.met() = Generations::default();
    }
}

#[cfg(test)]
mod tests {
    use domain::CustomerId;
    use streams::clock;

    use super::*;

    fn named(name: &str) -> GuestAddress {
        GuestAddress::Email(name.to_owned())
    }

    #[test]
    fn whoever_was_met_last_is_kept_while_many_others_come() {
        let guests = Guests::default();
        let ada = KnownCustomer { customer_id: CustomerId::new(clock::new_id()), version: 0 };
        guests.found(named("ada"), None);
        guests.greet(named("ada"), ada);
        guests.found(named("ada"), None);
        (1..MOST).for_each(|n| guests.found(named(&n.to_string()), None));
        assert_eq!(guests.get(&named("ada")), Some(ada));
        (0..3 * MOST).for_each(|n| guests.found(named(&format!("later {n}")), None));
        let met = guests.met();
        assert!(met.young.len() <= MOST && met.old.len() <= MOST);
        assert!(met.get(&named("ada")).is_none());
    }

    #[test]
    fn who_is_forgotten_has_to_be_looked_up_again() {
        let guests = Guests::default();
        guests.found(named("ada"), None);
        guests.found(named("bob"), None);
        guests.forget([&named("ada")]);
        assert_eq!((guests.knows_of(&named("ada")), guests.knows_of(&named("bob"))), (false, true));
        guests.forget_all();
        assert!(!guests.knows_of(&named("bob")));
    }
}
