//! Two programs that are not ours read calendar files: the Python package icalendar, and ical.js.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

/// Prints what the Python package icalendar reads: instants in UTC, and the words.
const ICALENDAR: &str = r#"
import datetime, json, sys
import icalendar

calendar = icalendar.Calendar.from_ical(sys.stdin.buffer.read())
assert not calendar.errors, calendar.errors
shown = {"method": calendar["METHOD"], "version": calendar["VERSION"], "events": []}
for event in calendar.walk("VEVENT"):
    assert not event.errors, event.errors
    one = {name: str(event[name.upper()]) for name in ("uid", "summary", "status", "location") if name in event}
    for name in ("dtstart", "dtend"):
        moment = event[name.upper()].dt
        assert moment.tzinfo is not None, moment
        one[name] = moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    one["sequence"] = int(event["SEQUENCE"])
    for name in ("organizer", "attendee"):
        if name in event:
            one[name] = [str(event[name.upper()]), event[name.upper()].params.get("CN")]
    shown["events"].append(one)
json.dump(shown, sys.stdout)
"#;

/// Prints the same as ical.js reads it; the argument is where that is.
const ICAL_JS: &str = r#"
const ICAL = require(process.argv[1]);
let file = "";
process.stdin.setEncoding("utf8").on("data", (part) => (file += part)).on("end", () => {
  const calendar = new ICAL.Component(ICAL.parse(file));
  const value = (component, name) => component.getFirstPropertyValue(name);
  const instant = (time) => {
    if (!(time.zone === ICAL.Timezone.utcTimezone) || time.isDate) throw new Error(`no instant: ${time}`);
    return time.toJSDate().toISOString().replace(".000Z", "Z");
  };
  const shown = { method: value(calendar, "method"), version: value(calendar, "version"), events: [] };
  for (const event of calendar.getAllSubcomponents("vevent")) {
    const one = { sequence: value(event, "sequence") };
    for (const name of ["dtstart", "dtend"]) one[name] = instant(value(event, name));
    for (const name of ["uid", "summary", "status", "location"])
      if (event.hasProperty(name)) one[name] = value(event, name);
    for (const name of ["organizer", "attendee"])
      if (event.hasProperty(name)) one[name] = [value(event, name), event.getFirstProperty(name).getParameter("cn")];
    shown.events.push(one);
  }
  process.stdout.write(JSON.stringify(shown));
});
"#;

fn setting(name: &str) -> String {
    std::env::var(name).expect("run the tests by ./scripts/test")
}

fn by_icalendar(file: &str) -> Value {
    let mut python = Command::new(setting("APPTREMIND_TEST_PYTHON"));
    ask(python.args(["-c", ICALENDAR]), file)
}

fn by_ical_js(file: &str) -> Value {
    let mut node = Command::new(setting("APPTREMIND_TEST_NODE"));
    ask(node.args(["-e", ICAL_JS]).arg(setting("APPTREMIND_TEST_ICAL_JS")), file)
}

/// What both of them read, which has to be the same.
pub(crate) fn read(file: &str) -> Value {
    let (one, other) = (by_icalendar(file), by_ical_js(file));
    assert_eq!(one, other, "icalendar and ical.js read it differently: {file}");
    one
}

fn ask(program: &mut Command, file: &str) -> Value {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(file.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{file}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn both_readers_refuse_what_is_no_calendar_file() {
    let odd = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nodd\r\nEND:VCALENDAR\r\n";
    for read in [by_icalendar, by_ical_js] {
        assert!(std::panic::catch_unwind(|| read(odd)).is_err());
        assert!(std::panic::catch_unwind(|| read(&odd.replace("odd\r\n", ""))).is_ok());
    }
}
