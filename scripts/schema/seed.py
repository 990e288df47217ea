"""Makes two salons, and the words that schemathesis draws from (dictionaries).

usage: BASE_URL=http://127.0.0.1:8080 [INBOX_URL=http://127.0.0.1:8025] seed.py FOLDER

schemathesis signs in as the owner of the first salon and does whatever it likes there. Guests visit the second one: nobody
closes it while they book. Its owner must not see what is in the first. INBOX_URL is the page of scripts/mailsink.py: without it
nobody can accept an invitation, and there are no members and resets to spare.
"""

import datetime
import json
import os
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request
import uuid

BASE = os.environ["BASE_URL"].rstrip("/")
INBOX = os.environ.get("INBOX_URL", "").rstrip("/")
# A proxy that the shell names is not for loopback.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
SLOT = datetime.timedelta(minutes=30)
TOMORROW = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) + datetime.timedelta(days=1)


def fetch(url, data=None, method="GET", headers=None):
    with OPENER.open(urllib.request.Request(url, data=data, method=method, headers=headers or {}), timeout=30) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def call(method, path, body=None, token=None, if_match=None):
    headers = {}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if if_match:
        headers["If-Match"] = if_match
    return fetch(BASE + "/api/v1" + path, data, method, headers)


def mailed(address, page):
    """What stands behind the `#` in the link to this page that was mailed to the address."""
    for _ in range(150):
        for mail in fetch(f"{INBOX}/api/messages?to={urllib.parse.quote(address)}"):
            found = re.search(rf"/{page}#([A-Za-z0-9_-]+)", mail["text"] or "")
            if found:
                return found[1]
        time.sleep(0.2)
    sys.exit(f"no mail to {address} with a link to /{page} came within 30 seconds: is {INBOX} the inbox of this server?")


def start(slot):
    return (TOMORROW + slot * SLOT).strftime("%Y-%m-%dT%H:%M:%SZ")


def link(url):
    return url.rsplit("/", 1)[-1]


def made_up(prefix):
    return f"{prefix}_{uuid.uuid4().hex}"


class Salon:
    """Open day and night; takes bookings for two years without notice."""

    def __init__(self):
        self.name = uuid.uuid4().hex[:10]
        self.sign_in = {"email": f"schema-{self.name}@salon.example", "password": f"correct horse {self.name}"}
        owner = call("POST", "/auth/register", {**self.sign_in, "business_name": f"Schema {self.name}", "timezone": "Europe/Vienna"})
        self.token, self.handle, self.id, self.owner = owner["access_token"], owner["handle"], owner["business_id"], owner["user"]["id"]
        policy = {"min_notice_minutes": 0, "cancel_notice_minutes": 0, "window_days": 730, "slot_step_minutes": 30, "slot_grid": "aligned"}
        self.own("PATCH", "/business/profile", {"booking_policy": policy}, if_match="*")
        self.resources = [self.own("POST", "/business/resources", {"name": "Room 1", "kind": "room", "capacity": 500})["id"]]
        asked = {"key": "allergies", "label": "Any allergies?", "kind": "text"}
        price = {"amount": 4500, "currency": "USD"}
        self.services = [
            self.own("POST", "/business/services", {"duration_minutes": 30, "price": price, **more})["id"]
            for more in (
                {"name": "Haircut", "intake_fields": [asked]},
                {"name": "Colour", "resources": [{"kind": "room"}]},
                {"name": "Consultation", "requires_approval": True},
                {"name": "Yoga", "capacity": 20},
            )
        ]
        weekly = [{"day": day, "start": "00:00", "end": "24:00"} for day in range(7)]
        self.staff = []
        for who in ("Ada", "Bea", "Cleo", "Dora", "Eva", "Fay"):
            staff = self.own("POST", "/business/staff", {"name": who, "email": f"{who.lower()}-{self.name}@salon.example"})["id"]
            self.own("PUT", f"/business/staff/{staff}/working-hours", {"weekly": weekly, "overrides": []}, if_match="*")
            self.staff.append(staff)
        # To be changed and removed.
        self.spare_staff = [self.own("POST", "/business/staff", {"name": f"Spare {i}"})["id"] for i in range(20)]
        spare = {"duration_minutes": 30, "price": price}
        self.spare_services = [self.own("POST", "/business/services", {"name": f"Spare {i}", **spare})["id"] for i in range(20)]
        absence = {"start": start(20_000), "end": start(20_010), "reason": "away"}
        self.time_off = [self.own("POST", f"/business/staff/{self.staff[0]}/time-off", absence)["id"]]
        self.booked = [self.book(i) for i in range(24)]
        series = {"service_id": self.services[0], "staff_id": self.staff[0], "start": start(48 * 7), "customer": {"name": "Serial"}}
        self.booked.append(self.own("POST", "/appointments", {**series, "recurrence": {"rule": "FREQ=WEEKLY;COUNT=3"}}))
        self.waiting = [self.wait(i) for i in range(6)]
        listed = self.own("GET", f"/customers?min_position={self.booked[-1]['position']}")
        self.customers = [item["id"] for item in listed["items"]]
        self.keys = [self.own("POST", "/api-keys", {"name": f"Till {i}", "scopes": ["business:read"]})["id"] for i in range(10)]
        self.invitations = [self.invite(f"asked-{i}")["id"] for i in range(10)]

    def own(self, method, path, body=None, if_match=None):
        return call(method, path, body, self.token, if_match)

    def address(self, who):
        return f"{who}-{self.name}@salon.example"

    def invite(self, who):
        return self.own("POST", "/auth/invitations", {"email": self.address(who), "role": "admin"})

    def book(self, i):
        guest = {"name": f"Guest {i}", "email": f"guest-{i}-{self.name}@guest.example", "phone": f"+1 555 {1000 + i}"}
        wish = {"service_id": self.services[i % 4], "staff_id": self.staff[i % 6], "start": start(i), "customer": guest}
        return call("POST", "/public/book", {**wish, "timezone": "Europe/London"})

    def wait(self, i):
        guest = {"name": f"Guest {i}", "email": f"wait-{i}-{self.name}@guest.example"}
        return call("POST", "/public/waitlist", {"service_id": self.services[0], "from": start(48 + i), "to": start(96 + i), "customer": guest})


class Spare:
    """Members who may be changed and removed, and what only mails tell."""

    def __init__(self, salon):
        self.password = salon.sign_in["password"]
        self.members, self.emails, self.invitations, self.resets = [], [], [], []
        if not INBOX:
            return
        members, guests = [f"member-{i}" for i in range(10)], [f"guest-{i}" for i in range(10)]
        for who in members + guests:
            salon.invite(who)
        for who in members:
            token = mailed(salon.address(who), "accept-invitation")
            joined = call("POST", "/auth/invitations/accept", {"token": token, "password": self.password})
            self.members.append(joined["user"]["id"])
            self.emails.append(salon.address(who))
        self.invitations = [mailed(salon.address(who), "accept-invitation") for who in guests]
        for email in self.emails[:4]:
            call("POST", "/auth/password-reset", {"email": email})
        self.resets = [mailed(email, "reset-password") for email in self.emails[:4]]


def user(name, salon):
    """Who signs in, as web fuzzing commons has it."""
    login = {"endpoint": "/api/v1/auth/login", "verb": "POST", "contentType": "application/json", "payloadRaw": json.dumps(salon.sign_in)}
    token = {"extractFrom": "body", "extractSelector": "/access_token", "sendIn": "header", "sendName": "Authorization", "sendTemplate": "Bearer {token}"}
    return {"name": name, "loginEndpointAuth": {**login, "token": token}}


def main(folder):
    own, other = Salon(), Salon()
    spare = Spare(own)

    def words(name, values):
        quoted = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"\n' for value in values)
        (folder / f"{name}.dict").write_text("".join(quoted))

    def dates(days):
        return [str((TOMORROW + datetime.timedelta(days=day)).date()) for day in days]

    words("services", own.services)
    words("staff", own.staff)
    words("spare-services", own.spare_services)
    words("spare-staff", own.spare_staff)
    words("appointments", [one["appointment_id"] for one in own.booked])
    words("customers", own.customers)
    words("waitlist", [one["waitlist_id"] for one in own.waiting])
    words("keys", own.keys)
    words("invitations", own.invitations)
    words("members", spare.members or [made_up("user")])
    words("emails", spare.emails or ["nobody@salon.example"])
    words("passwords", [spare.password])
    words("refresh-tokens", [call("POST", "/auth/login", other.sign_in)["refresh_token"] for _ in range(10)])
    words("logout-tokens", [call("POST", "/auth/login", other.sign_in)["refresh_token"] for _ in range(10)])
    words("invitation-tokens", spare.invitations or ["spent"])
    words("reset-tokens", spare.resets or ["spent"])
    words("businesses", [own.id])
    words("public-services", other.services)
    words("public-staff", ["any", *other.staff])
    words("links", [link(one["manage_url"]) for one in other.booked])
    words("waitlist-links", [link(one["manage_url"]) for one in other.waiting])
    words("feeds", [link(other.own("GET", f"/business/staff/{staff}/calendar-feed")["url"]) for staff in other.staff])
    words("handles", [other.handle])
    words("starts", [start(slot) for slot in range(24, 600)])
    words("first-dates", dates(range(5)))
    words("last-dates", dates(range(5, 20)))
    words("any-version", ["*"])
    (folder / "users.json").write_text(json.dumps({"auth": [user("owner", own), user("other", other)]}, indent=1))
    # hooks.py keeps these from being changed or removed.
    (folder / "owners.json").write_text(json.dumps([own.owner, other.owner]))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
