use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use domain::CustomerId;

/// Guests of one business in one generation: so many more have to be met before one is dropped.
const MOST: usize = 500;

/// Who was met of late in one business, by address: `None` for one whom the business does not know.
///
/// What is kept may be old: another process may have met the guest since. The table refuses to take
/// one address twice, and whoever is refused forgets what was kept and asks again.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<Generations>);

type Met = HashMap<String, Option<CustomerId>>;

#[derive(Debug, Default)]
struct Generations {
    young: Met,
    old: Met,
}

impl Generations {
    fn get(&self, address: &str) -> Option<&Option<CustomerId>> {
        self.young.get(address).or_else(|| self.old.get(address))
    }

    fn keep(&mut self, address: String, customer_id: Option<CustomerId>) {
        if self.young.len() >= MOST {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(address, customer_id);
    }
}

impl Guests {
    fn met(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was looked up.
    pub(crate) fn knows_of(&self, address: &str) -> bool {
        self.met().get(address).is_some()
    }

    pub(crate) fn get(&self, address: &str) -> Option<CustomerId> {
        self.met().get(address).copied().flatten()
    }

    /// Takes in what was looked up. What became known meanwhile is newer.
    pub(crate) fn found(&self, address: String, customer_id: Option<CustomerId>) {
        let mut met = self.met();
        if met.get(&address).is_none() {
            met.keep(address, customer_id);
        }
    }

    /// Takes in that a guest becomes known.
    pub(crate) fn greet(&self, address: String, customer_id: CustomerId) {
        self.met().keep(address, Some(customer_id));
    }

    pub(crate) fn forget<'a>(&self, addresses: impl IntoIterator<Item = &'a str>) {
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
    use streams::clock;

    use super::*;

    #[test]
    fn whoever_was_met_last_is_kept_while_many_others_come() {
        let guests = Guests::default();
        let ada = CustomerId::new(clock::new_id());
        guests.found("ada".to_owned(), None);
        guests.greet("ada".to_owned(), ada);
        guests.found("ada".to_owned(), None);
        (1..MOST).for_each(|n| guests.found(n.to_string(), None));
        assert_eq!(guests.get("ada"), Some(ada));
        (0..3 * MOST).for_each(|n| guests.found(format!("later {n}"), None));
        let met = guests.met();
        assert!(met.young.len() <= MOST && met.old.len() <= MOST);
        assert!(met.get("ada").is_none());
    }

    #[test]
    fn who_is_forgotten_has_to_be_looked_up_again() {
        let guests = Guests::default();
        guests.found("ada".to_owned(), None);
        guests.found("bob".to_owned(), None);
        guests.forget(["ada"]);
        assert_eq!((guests.knows_of("ada"), guests.knows_of("bob")), (false, true));
        guests.forget_all();
        assert!(!guests.knows_of("bob"));
    }
}
