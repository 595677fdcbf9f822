"""The guardrails as a policy pack: the few calls of Pulumi's analyzer protocol that mandatory rules need.

Pulumi's policy SDK would do, but it pins a protobuf that the rest of this environment cannot have; the
protocol itself comes with Pulumi.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc, plugin_pb2

from policy.guardrails import RULES, Resource, Violation, check_resource, check_stack

NAME: Final = "taxiway"
VERSION: Final = "1.0.0"


class Analyzer(analyzer_pb2_grpc.AnalyzerServicer):
    """Answers the engine. Its methods' names, and the fields of its messages, are the protocol's."""

    def __init__(self) -> None:
        self._config: dict[str, str] = {}
        self.cancelled = threading.Event()

    def Handshake(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Say hello."""
        return analyzer_pb2.AnalyzerHandshakeResponse()

    def GetPluginInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Return the pack's version."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetAnalyzerInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Return the rules."""
        rules = [
            analyzer_pb2.PolicyInfo(
                name=rule.name,
                description=rule.description,
                enforcementLevel=analyzer_pb2.MANDATORY,
                policy_type=(
                    analyzer_pb2.POLICY_TYPE_STACK if rule.stack else analyzer_pb2.POLICY_TYPE_RESOURCE
                ),
            )
            for rule in RULES
        ]
        return analyzer_pb2.AnalyzerInfo(name=NAME, displayName="Taxiway", version=VERSION, policies=rules)

    def Configure(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Take no configuration: mandatory rules are not for turning off."""
        return empty_pb2.Empty()

    def ConfigureStack(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Remember the stack's settings."""
        self._config = dict(request.config)
        return analyzer_pb2.AnalyzerStackConfigureResponse()

    def Analyze(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Check one resource before it is made."""
        return _response(check_resource(_resource(request), self._config), request.urn)

    def AnalyzeStack(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Check all resources together."""
        resources = [_resource(resource) for resource in request.resources]
        return _response(check_stack(resources, self._config), "")

    def Remediate(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Change nothing: a rule says no, it does not repair."""
        return analyzer_pb2.RemediateResponse()

    def Cancel(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Stop."""
        self.cancelled.set()
        return empty_pb2.Empty()


def serve(announce: Callable[[int], None]) -> None:
    """Serve on a free port of the loopback until cancelled; `announce` is told the port."""
    analyzer = Analyzer()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    add: Any = analyzer_pb2_grpc.add_AnalyzerServicer_to_server
    add(analyzer, server)
    announce(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    analyzer.cancelled.wait()
    server.stop(grace=1).wait()


def announce_on_stdout(port: int) -> None:
    """Tell the engine, which reads the port from the first line."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


def _resource(message: Any) -> Resource:
    return Resource(message.type, message.name, json_format.MessageToDict(message.properties))


def _response(violations: Iterable[Violation], urn: str) -> Any:
    descriptions = {rule.name: rule.description for rule in RULES}
    diagnostics = [
        analyzer_pb2.AnalyzeDiagnostic(
            policyName=violation.rule,
            policyPackName=NAME,
            policyPackVersion=VERSION,
            description=descriptions[violation.rule],
            message=violation.message,
            enforcementLevel=analyzer_pb2.MANDATORY,
            urn=urn,
        )
        for violation in violations
    ]
    return analyzer_pb2.AnalyzeResponse(diagnostics=diagnostics)
