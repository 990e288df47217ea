use domain::{
    BusinessId,
    business::BusinessState,
    notification::{AccountMail, LocalWeek},
};
use jiff::civil::Date;
use minijinja::{Value, context};
use projections::weeks::WeekCounts;

use super::{Mail, Mails, TemplateError, account::heading, brand};

impl Mails {
    /// To the owners: how the week went, and what comes in the next.
    pub(crate) fn about_week(
        &self,
        business_id: BusinessId,
        business: &BusinessState,
        week: LocalWeek,
        counts: &WeekCounts,
    ) -> Result<Mail, TemplateError> {
        let mail = AccountMail::WeeklySummary { business_id, week };
        let profile = &business.profile.value;
        let (from, subject) = heading(mail, &profile.name);
        let next = week.next();
        let day = |(behind, visits)| context! { day => shown(next.day(behind)), visits => visits };
        let days: Vec<Value> = (0..).zip(counts.coming).map(day).collect();
        let values = context! {
            brand => brand::values(&profile.branding),
            business => from,
            monday => shown(week.monday()),
            sunday => shown(week.sunday()),
            visits => counts.visits,
            completed => counts.completed,
            missed => counts.missed,
            open => counts.visits.saturating_sub(counts.completed + counts.missed),
            cancelled => counts.cancelled,
            made => counts.made,
            sent => counts.reminders_sent,
            failed => counts.reminders_failed,
            uncertain => counts.reminders_uncertain,
            days => days,
            coming => counts.coming.iter().sum::<u64>(),
            zone => profile.timezone.name(),
        };
        self.render(mail.as_str(), from, subject, &values)
    }
}

/// A date as people read it.
fn shown(date: Date) -> String {
    date.strftime("%A, %-d %B %Y").to_string()
}
