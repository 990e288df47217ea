"""Every example in an API document fits its own schema, patterns and formats included.

usage: check_examples.py DOCUMENT, a file or an address
"""

import json
import sys
import urllib.request

import jsonschema_rs


def read(place):
    if place.startswith(("http://", "https://")):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(place, timeout=30) as answer:
            return json.load(answer)
    with open(place) as file:
        return json.load(file)


class Examples:
    def __init__(self, document):
        self.components = document["components"]
        self.seen, self.problems = 0, []
        self.walk("", document)

    def check(self, where, schema, example):
        self.seen += 1
        whole = {"$ref": "#/x", "x": schema, "components": self.components}
        for error in jsonschema_rs.Draft202012Validator(whole, validate_formats=True).iter_errors(example):
            self.problems.append(f"{where}: {error.message} at {'.'.join(map(str, error.instance_path)) or 'the top'}")

    def walk(self, where, node):
        if isinstance(node, dict):
            if "example" in node and "schema" in node:  # a parameter, or a body of this kind
                self.check(where, node["schema"], node["example"])
            elif "example" in node and node.keys() & {"type", "allOf", "anyOf", "oneOf"}:
                self.check(where, {key: value for key, value in node.items() if key != "example"}, node["example"])
            for name, item in node.items():
                if name != "example":
                    self.walk(f"{where}/{name}", item)
        elif isinstance(node, list):
            for place, item in enumerate(node):
                self.walk(f"{where}/{place}", item)


found = Examples(read(sys.argv[1]))
for problem in found.problems:
    print(problem, file=sys.stderr)
print(f"{found.seen} examples, {len(found.problems)} of them wrong")
sys.exit(bool(found.problems))
