import Platform
import Synchronization

/// Finds the route of a request and says how it is answered; knows nothing of connections.
///
/// | route | method | token needed |
/// |---|---|---|
/// | `/livez`, `/readyz` | GET | never |
/// | `/metrics`, `/admin/cluster/members`, `…/partitions`, `…/health` | GET | when there is one |
/// | `/admin/cluster/transfer-leader/{topic}/{partition}/{to_node}` | POST | when there is one |
package final class AdminRoutes: Sendable {
    private enum Route {
        case live, ready, metrics, members, partitions, health
        case transfer(String, Int32, Int32)
    }

    private static let fixed: [(path: String, route: Route)] = [
        ("/livez", .live), ("/readyz", .ready), ("/metrics", .metrics),
        ("/admin/cluster/members", .members), ("/admin/cluster/partitions", .partitions),
        ("/admin/cluster/health", .health),
    ]
    private static let transferPrefix = "/admin/cluster/transfer-leader"
    private static let transferPath = transferPrefix + "/{topic}/{partition}/{to_node}"

    private let token: AdminToken?
    private let view = Mutex<(any AdminView)?>(nil)

    package init(token: AdminToken?) { self.token = token }

    /// From now on the node answers; until then, and after ``withdraw()``, it is not ready.
    package func publish(_ node: any AdminView) { view.withLock { $0 = node } }

    package func withdraw() { view.withLock { $0 = nil } }

    package func answer(_ request: AdminRequest) -> AdminAnswer {
        let isOpen = request.path == "/livez" || request.path == "/readyz"
        if let token, !isOpen, !token.admits(request.authorization) {
            return .now(
                .error(401, "this needs the header 'Authorization: Bearer TOKEN'")
                    .adding("WWW-Authenticate", "Bearer")
            )
        }
        switch Self.route(request.path) {
        case .failure(let problem): return .now(problem.response)
        case .success(let route): return answer(request, route)
        }
    }

    private func answer(_ request: AdminRequest, _ route: Route) -> AdminAnswer {
        let method = if case .transfer = route { "POST" } else { "GET" }
        guard request.method == method || (method == "GET" && request.method == "HEAD") else {
            let allowed = method == "GET" ? "GET, HEAD" : method
            return .now(
                .error(405, "\(request.method) is not allowed here; expected \(method)")
                    .adding("Allow", allowed)
            )
        }
        // A page in a browser on this machine must not give orders to the node.
        if method == "POST", request.origin != nil {
            return .now(.error(403, "requests of web pages are refused"))
        }
        if case .live = route { return .now(.plain("live\n")) }
        guard let node = view.withLock({ $0 }) else {
            return .now(.error(503, "the node is starting or stopping"))
        }
        return Self.ask(node, route)
    }

    private static func ask(_ node: any AdminView, _ route: Route) -> AdminAnswer {
        switch route {
        case .live: .now(.plain("live\n"))
        case .ready:
            .asking {
                let readiness = await node.readiness()
                return {
                    switch readiness {
                    case .ready: .plain("ready\n")
                    case .notReady(let reason): .error(503, reason)
                    }
                }
            }
        case .metrics:
            .asking {
                await node.sampleMetrics()
                return {
                    AdminResponse(
                        status: 200,
                        contentType: MetricsRegistry.contentType,
                        body: node.metrics.prometheusText()
                    )
                }
            }
        case .members:
            .asking {
                let members = await node.members()
                return { .json(members.json) }
            }
        case .partitions:
            .asking {
                let partitions = await node.partitions()
                return { .json(.object(["partitions": .array(partitions.map(\.json))])) }
            }
        case .health:
            .asking {
                let health = await node.health()
                return { .json(health.json) }
            }
        case .transfer(let topic, let partition, let to):
            .asking {
                let outcome = await node.transferLeadership(
                    topic: topic,
                    partition: partition,
                    to: to
                )
                return { outcome.response(topic: topic, partition: partition, to: to) }
            }
        }
    }

    // MARK: Paths

    private struct Problem: Error {
        let response: AdminResponse
    }

    private static func route(_ path: String) -> Result<Route, Problem> {
        if let found = fixed.first(where: { $0.path == path }) { return .success(found.route) }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        let prefix = transferPrefix.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.starts(with: prefix) else { return .failure(Problem(response: unknown(path))) }
        let names = parts.dropFirst(prefix.count)
        guard names.count == 3, let topic = names.first, !topic.isEmpty else {
            let message = "\(path) is not \(transferPath)"
            return .failure(Problem(response: .error(400, message)))
        }
        let numbers = names.dropFirst().map { number($0) }
        guard let partition = numbers[0] else { return .failure(bad("partition", names)) }
        guard let node = numbers[1] else { return .failure(bad("to_node", names)) }
        return .success(.transfer(String(topic), partition, node))
    }

    private static func number(_ text: Substring) -> Int32? {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Int32(text)
    }

    private static func bad(_ name: String, _ parts: ArraySlice<Substring>) -> Problem {
        let text = parts[parts.startIndex + (name == "partition" ? 1 : 2)]
        return Problem(
            response: .error(
                400,
                "\(name) is '\(text.prefix(64))'; expected a whole number 0 to \(Int32.max)"
            )
        )
    }

    private static func unknown(_ path: String) -> AdminResponse {
        let known = fixed.map(\.path) + [transferPath]
        let shown = String(path.prefix(256))
        let near = Spelling.suggestion(for: shown, among: known)
        return .error(
            404,
            near.isEmpty
                ? "no such path; expected one of \(known.joined(separator: ", "))"
                : "no such path \(shown)\(near)"
        )
    }
}
