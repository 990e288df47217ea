use std::slice;

use domain::{business::Business, notification::LocalWeek};
use streams::{
    BoxError,
    log::{Loaded, StreamKey},
};

use super::{Notifier, deliver::Prepared};
use crate::{hosts::Addresses, work::Work};

impl Notifier {
    /// Counted when it is sent, for whoever owns the business then, if they still want it.
    pub(super) async fn prepare_week(
        &self,
        work: &Work,
        week: LocalWeek,
    ) -> Result<Prepared, BoxError> {
        let (database, business_id) = (self.log.database(), work.business_id);
        let key = StreamKey::of::<Business>(business_id);
        let histories = self.log.load(business_id, slice::from_ref(&key)).await?;
        let business: Loaded<Business> = histories.fold(&key)?;
        let business = business.state.registered();
        let Some(business) = business.filter(|known| known.profile.value.weekly_summary) else {
            return Ok(Prepared::CalledOff { reason: None });
        };
        let addresses = Addresses::read(database.system(), &[business_id], &[]).await?;
        let to = addresses.of_owners(business_id);
        if to.is_empty() {
            return Ok(Prepared::NoContact);
        }
        let zone = &business.profile.value.timezone;
        let counts = projections::weeks::counts(database, business_id, week, zone).await?;
        let mail = self.mails.about_week(business_id, business, week, &counts)?;
        Ok(Prepared::Mail { mail, to, seen: None })
    }
}
