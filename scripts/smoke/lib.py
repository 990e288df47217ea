"""A small client for the smoke scripts: the API, the mail inbox, and a business of one's own. Standard library only."""

import datetime
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

sys.dont_write_bytecode = True
ENV_FILE = pathlib.Path(__file__).resolve().parents[2] / ".local" / "dev" / "env"
# A proxy that the shell names is not for loopback.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def setting(name, otherwise=""):
    """From the environment, or else what ./scripts/dev recorded."""
    if os.environ.get(name):
        return os.environ[name]
    if ENV_FILE.exists():
        for line in ENV_FILE.read_text().splitlines():
            key, _, value = line.partition("=")
            if key == name and value:
                return value
    return otherwise


URL = setting("APPTREMIND_URL", f"http://127.0.0.1:{os.environ.get('APPTREMIND_HTTP_PORT', '8080')}").rstrip("/")


class Answer:
    def __init__(self, status, headers, data):
        self.status, self.headers, self.text = status, headers, data.decode(errors="replace")
        try:
            self.body = json.loads(data) if data else None
        except ValueError:
            self.body = None

    @property
    def code(self):
        return (self.body or {}).get("code")

    def __str__(self):
        return f"{self.status} {self.text[:600]}"


def send(method, url, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=dict(headers or {}))
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with OPENER.open(request, timeout=30) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as answer:
        with answer:
            return Answer(answer.code, answer.headers, answer.read())
    except OSError as problem:
        sys.exit(f"nobody answers at {url}: {problem}\nstart the system first: ./scripts/dev --detach (or name another one in APPTREMIND_URL)")


def check(fact, sentence, *seen):
    """One line for each thing that holds; ends the script at the first that does not."""
    if not fact:
        print(f"  NOT SO: {sentence}")
        for thing in seen:
            print(f"          seen: {thing}")
        sys.exit(1)
    print(f"  ok: {sentence}")


def refused(answer, status, code, sentence):
    kind = answer.headers.get("Content-Type", "")
    as_said = answer.status == status and answer.code == code and kind.startswith("application/problem+json")
    check(as_said, f"{sentence}: {status} {code}", answer, kind)


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def rfc3339(moment):
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def next_monday():
    """A Monday at least two days ahead, so that no notice period is in the way."""
    today = datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=2)
    return today + datetime.timedelta(days=-today.weekday() % 7)


class Business:
    """A new business with one service and one staff member."""

    def __init__(self, name, timezone="Europe/Vienna", minutes=30):
        self.email = f"owner-{uuid.uuid4().hex[:12]}@salon.example"
        self.password = f"correct horse {uuid.uuid4().hex[:8]}"
        self.token = None
        answer = self.post(
            "/auth/register", {"email": self.email, "password": self.password, "business_name": f"Smoke {name}", "timezone": timezone}
        )
        check(answer.status == 201, "a business registers", answer)
        self.registered = answer.body
        self.token, self.handle, self.id = answer.body["access_token"], answer.body["handle"], answer.body["business_id"]
        service = self.post("/business/services", {"name": "Haircut", "duration_minutes": minutes, "price": {"amount": 4500, "currency": "USD"}})
        check(service.status == 201, "it offers a service", service)
        self.service = service.body["id"]
        staff = self.post("/business/staff", {"name": "Ada", "service_ids": [self.service]})
        check(staff.status == 201, "somebody works there", staff)
        self.staff = staff.body["id"]

    def call(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return send(method, f"{URL}/api/v1{path}", body, headers)

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body=None, headers=None):
        return self.call("POST", path, body, headers)

    def change(self, method, path, body):
        """PATCH or PUT what was just read."""
        tag = self.get(path).headers.get("ETag")
        check(bool(tag), f"{path} has an ETag")
        answer = self.call(method, path, body, {"If-Match": tag})
        check(answer.status in (200, 204), f"{method} {path} with If-Match", answer)
        return answer

    def hours(self, weekly):
        return self.change("PUT", f"/business/staff/{self.staff}/working-hours", {"weekly": weekly, "overrides": []})

    def slots(self, first, last=None, position=None):
        query = {"business": self.handle, "service_id": self.service, "staff_id": self.staff, "from": first, "to": last or first}
        if position:
            query["min_position"] = position
        answer = send("GET", f"{URL}/api/v1/public/slots?{urllib.parse.urlencode(query)}")
        check(answer.status == 200, f"slots are listed from {first} to {last or first}", answer)
        return answer.body["slots"]

    def booking(self, start, name="Grace Guest", email=None):
        customer = {"name": name, "email": email or f"guest-{uuid.uuid4().hex[:12]}@guest.example"}
        return {"service_id": self.service, "staff_id": self.staff, "start": start, "customer": customer}

    def book(self, body, key=None):
        """As a guest: without a token."""
        return send("POST", f"{URL}/api/v1/public/book", body, {"Idempotency-Key": key} if key else {})


def inbox(address):
    """The mails to this address, oldest first: [{subject, text, html, message_id}]. From our own mail sink or from Mailpit."""
    base = setting("APPTREMIND_INBOX_URL").rstrip("/")
    if not base:
        sys.exit("there is no inbox to look into\nname one in APPTREMIND_INBOX_URL, or start the system with ./scripts/dev --detach")
    if send("GET", f"{base}/api/v1/info").status != 200:
        answer = send("GET", f"{base}/api/messages?{urllib.parse.urlencode({'to': address})}")
        return [{key: mail[key] for key in ("subject", "text", "html", "message_id")} for mail in answer.body]
    query = urllib.parse.urlencode({"query": f'to:"{address}"'})
    mails = []
    for found in reversed(send("GET", f"{base}/api/v1/search?{query}").body["messages"]):
        mail = send("GET", f"{base}/api/v1/message/{found['ID']}").body
        mails.append({"subject": mail["Subject"], "text": mail["Text"], "html": mail["HTML"], "message_id": mail["MessageID"]})
    return mails


def wait_until(seconds, sentence, look):
    """Looks again and again; answers what it found."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            print(f"  ok: {sentence}")
            return found
        if time.monotonic() > end:
            check(False, f"{sentence}, within {seconds:.0f} s", found)
        time.sleep(0.5)
