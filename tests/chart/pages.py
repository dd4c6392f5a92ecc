"""Runs the commands of an installation page, word for word, as far as they need no cluster.

`helm` is the real one: installations are dry runs, and what they render counts as installed. `helm dependency` unpacks
the stand-ins of `stubs`. Of `kubectl`, Secrets that the page makes are recorded, and what it names has to be there.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chart import stubs
from tests.chart.rendering import Helm, Manifest, containers, loaded, pods

COMMAND = re.compile(r"^[#$ ]*((?:helm|kubectl) .*)$")
NEEDS_HISTORY = ("--reuse-values", "--reset-then-reuse-values", "--wait")
ADDRESS = re.compile(r"https?://([a-z0-9-]+)\.([a-z0-9-]+)\.svc:(\d+)")


def commands(text: str) -> Iterator[list[str]]:
    """Words of every `helm` and `kubectl` command that begins a line of a page, of notes or of a YAML comment."""
    lines = iter(text.splitlines())
    for line in lines:
        if found := COMMAND.match(line):
            command = found[1]
            while command.endswith("\\"):
                command = command[:-1] + next(lines).strip("# ")
            yield shlex.split(command, comments=True)


def option(words: list[str], *names: str) -> str:
    """Value of an option, given as the next word or behind `=`; empty without it."""
    for name in names:
        if name in words:
            return words[words.index(name) + 1]
        for word in words:
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
    return ""


@dataclass
class Installation:
    """A checkout in which a page is followed, and what there is in the cluster after it."""

    helm: Helm
    checkout: Path
    objects: dict[tuple[str, str, str], Manifest] = field(default_factory=dict)
    """By kind, namespace and name."""
    releases: dict[str, tuple[str, list[Manifest]]] = field(default_factory=dict)
    """Namespace and objects of each."""
    notes: str = ""
    """Of the last installation."""

    def follow(self, text: str) -> int:
        """Runs the commands; returns how many installed something."""
        installed = 0
        for words in commands(text):
            program, verb = words[:2]
            if program == "kubectl":
                self._kubectl(verb, words)
            elif verb == "dependency":
                stubs.add_dependencies(self.checkout / words[3])
            elif verb in ("install", "upgrade"):
                self._install(words)
                installed += 1
            elif verb == "test":
                namespace, manifests = self.releases[words[2]]
                assert option(words, "--namespace", "-n") == namespace
                assert any("helm.sh/hook" in one["metadata"].get("annotations", {}) for one in manifests)
        return installed

    def _install(self, words: list[str]) -> None:
        arguments = words[1:]
        if "--install" not in words and words[1] == "upgrade":  # of a release that an earlier page installed
            assert words[2] in self.releases, words
            arguments = ["install", *(word for word in words[2:] if word not in NEEDS_HISTORY)]
        done = self.helm.run(*arguments, "--dry-run=client", cwd=self.checkout)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
        body, _, self.notes = done.stdout.partition("\nNOTES:\n")
        manifests = loaded(re.sub(r"^MANIFEST:$", "---", body.partition("\nHOOKS:\n")[2], flags=re.MULTILINE))
        names = [word for word in arguments[1:] if not word.startswith("-")]
        namespace = option(words, "--namespace", "-n")
        self.releases[names[0]] = (namespace, manifests)
        for one in manifests:
            place = one["metadata"].get("namespace", namespace)
            self.objects[one["kind"], place, one["metadata"]["name"]] = one

    def _kubectl(self, verb: str, words: list[str]) -> None:
        namespace = option(words, "--namespace", "-n")
        if verb.startswith("-"):  # options before the verb
            verb = next(word for word in words[1:] if not word.startswith("-") and word != namespace)
        rest = words[words.index(verb) + 1 :]
        if verb == "create" and rest[0] == "secret":
            self.objects["Secret", namespace, rest[2]] = {}
        elif verb == "port-forward" and namespace in self.namespaces():
            (name,) = [word.removeprefix("service/") for word in rest if word.startswith("service/")]
            service = self.objects["Service", namespace, name]
            port = next(word for word in rest if re.fullmatch(r"\d+(:\d+)?", word)).rpartition(":")[2]
            assert int(port) in [one["port"] for one in service["spec"]["ports"]], words
        elif verb == "get" and rest[0] == "secret":
            assert ("Secret", namespace, rest[1]) in self.objects, words

    def namespaces(self) -> set[str]:
        return {namespace for namespace, _ in self.releases.values()}

    def reaches(self, url: str) -> bool:
        """Whether an address is that of a Service, at one of its ports."""
        found = ADDRESS.fullmatch(url)
        service = self.objects.get(("Service", found[2], found[1])) if found else None
        return service is not None and int(found[3]) in [one["port"] for one in service["spec"]["ports"]]

    def missing_secrets(self) -> set[tuple[str, str]]:
        """Namespace and name of Secrets without which a pod would not start."""
        wanted = {
            (namespace, name)
            for namespace, manifests in self.releases.values()
            for _, pod in pods(manifests)
            for name in required_secrets(pod)
        }
        return {place for place in wanted if ("Secret", *place) not in self.objects}


def required_secrets(pod: Manifest) -> Iterator[str]:
    """Secrets that a pod mounts or reads variables from, but for optional ones."""
    for volume in pod.get("volumes", []):
        if not volume.get("secret", {"optional": True}).get("optional"):
            yield volume["secret"]["secretName"]
    for container in containers(pod):
        for entry in container.get("env", []):
            reference = entry.get("valueFrom", {}).get("secretKeyRef", {"optional": True})
            if not reference.get("optional"):
                yield reference["name"]
