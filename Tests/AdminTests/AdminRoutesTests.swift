import Platform
import Testing

@testable import Admin

@Suite struct `The admin routes` {
    private let view = ScriptedView()

    private func routes(token: String? = nil) -> AdminRoutes {
        let routes = AdminRoutes(token: token.flatMap(AdminToken.init))
        routes.publish(view)
        return routes
    }

    private func get(
        _ path: String,
        method: String = "GET",
        authorization: String? = nil,
        origin: String? = nil,
        from given: AdminRoutes? = nil
    ) async -> AdminResponse {
        let request = AdminRequest(
            method: method,
            path: path,
            authorization: authorization,
            origin: origin
        )
        switch (given ?? routes()).answer(request) {
        case .now(let response): return response
        case .asking(let ask): return await ask()()
        }
    }

    @Test func `members are written as JSON`() async {
        let response = await get("/admin/cluster/members")
        #expect(response.status == 200 && response.contentType == "application/json")
        #expect(
            response.body == #"{"cluster_id":"c\"1","node_id":1,"metadata_leader":2,"members":["#
                + #"{"id":1,"kafka_address":"a:1","raft_address":"a:2","rack":"r","#
                + #""registered":true,"fenced":false,"stopping":false,"alive":true},"#
                + #"{"id":2,"kafka_address":"b:1","raft_address":null,"rack":null,"#
                + #""registered":true,"fenced":false,"stopping":false,"alive":false}]}"#
                + "\n"
        )
    }

    @Test func `partitions are written as JSON`() async {
        let response = await get("/admin/cluster/partitions")
        #expect(
            response.body == #"{"partitions":[{"topic":"t","partition":0,"leader":null,"#
                + #""leader_epoch":-1,"replicas":[1,2],"in_sync_replicas":[],"#
                + #""log_start_offset":null,"high_watermark":7}]}"# + "\n"
        )
    }

    @Test func `health tells every reason, and counts them`() async {
        #expect(await get("/admin/cluster/health").body.hasPrefix(#"{"healthy":true,"counts":"#))
        view.health = ClusterHealth([
            .leaderless(topic: "t", partition: 3),
            .underReplicated(topic: "t", partition: 4, missing: [2, 3]), .nodeDown(2),
            .diskFull(node: 3), .other("x"),
        ])
        let body = await get("/admin/cluster/health").body
        #expect(
            body == #"{"healthy":false,"counts":{"leaderless":1,"under_replicated":1,"#
                + #""node_down":1,"disk_full":1,"other":1},"reasons":["#
                + #"{"kind":"leaderless","topic":"t","partition":3,"message":"t-3 has no leader"},"#
                + #"{"kind":"under_replicated","topic":"t","partition":4,"missing":[2,3],"#
                + #""message":"t-4 is not in sync on node 2, node 3"},"#
                + #"{"kind":"node_down","node":2,"message":"node 2 is down"},"#
                + #"{"kind":"disk_full","node":3,"message":"the disk of node 3 is full"},"#
                + #"{"kind":"other","message":"x"}]}"# + "\n"
        )
    }

    @Test func `many reasons are counted, and not all written`() async {
        view.health = ClusterHealth((0..<5_000).map { .leaderless(topic: "t", partition: $0) })
        let body = await get("/admin/cluster/health").body
        #expect(body.contains(#""leaderless":5000"#))
        #expect(body.split(separator: "no leader").count == 101)
    }

    @Test(
        arguments: [
            (LeadershipTransfer.transferred, 200), (.alreadyLeader, 200), (.unknownPartition, 404),
            (.notAReplica(replicas: [1, 2]), 409), (.leaderless, 503), (.busy, 409),
            (.targetUnavailable(reason: "node 3 is down"), 409), (.timedOut, 504),
            (.failed(reason: "x"), 500),
        ] as [(LeadershipTransfer, Int)]
    )
    func `a transfer's outcome is its status`(_ outcome: LeadershipTransfer, _ status: Int) async {
        view.transfer = outcome
        let path = "/admin/cluster/transfer-leader/my.topic/7/3"
        let response = await get(path, method: "POST")
        #expect(response.status == status)
        #expect(view.asked == "my.topic 7 3")
        #expect(response.body.contains("\"error\"") == (status != 200))
    }

    @Test(arguments: [
        ("t/x/1", "partition is 'x'"), ("t/-1/1", "partition is '-1'"), ("t/1/", "to_node is ''"),
        ("t/1/99999999999", "to_node is '99999999999'"), ("t/+1/1", "partition is '+1'"),
        ("t/1", "is not /admin/cluster/transfer-leader/{topic}/{partition}/{to_node}"),
        ("t/1/2/3", "is not /admin"), ("/1/2", "is not /admin"), ("", "is not /admin"),
    ])
    func `a transfer that names no partition is refused`(_ rest: String, _ says: String) async {
        let path = "/admin/cluster/transfer-leader/\(rest)"
        let response = await get(path, method: "POST")
        #expect(response.status == 400 && response.body.contains(says), "\(response.body)")
        #expect(view.asked == nil)
    }

    @Test func `unknown paths name the nearest`() async {
        let response = await get("/admin/cluster/member")
        #expect(response.status == 404)
        #expect(response.body.contains("did you mean /admin/cluster/members?"))
        #expect(await get("/quite/unlike/any/other/path").body.contains("expected one of /livez"))
        #expect(await get("").status == 404)
    }

    @Test func `the wrong method names the right one`() async {
        let response = await get("/admin/cluster/members", method: "POST")
        #expect(response.status == 405)
        #expect(response.headers == [.init(name: "Allow", value: "GET, HEAD")])
        let path = "/admin/cluster/transfer-leader/t/1/2"
        #expect(await get(path).headers == [.init(name: "Allow", value: "POST")])
        #expect(view.asked == nil)
        #expect(await get("/livez", method: "HEAD").status == 200)
    }

    @Test func `web pages give no orders`() async {
        let path = "/admin/cluster/transfer-leader/t/1/2"
        let response = await get(path, method: "POST", origin: "http://evil.example")
        #expect(response.status == 403 && view.asked == nil)
    }

    @Test func `a node that is not ready says why`() async {
        #expect(await get("/readyz") == .plain("ready\n"))
        view.ready = .notReady(reason: "the log is gone")
        let response = await get("/readyz")
        #expect(response.status == 503 && response.body.contains("the log is gone"))
    }

    @Test func `before the node and after it nothing is ready, and all is alive`() async {
        let routes = AdminRoutes(token: nil)
        for _ in 0..<2 {
            #expect(await get("/livez", from: routes).status == 200)
            for path in ["/readyz", "/metrics", "/admin/cluster/health"] {
                #expect(await get(path, from: routes).status == 503)
            }
            routes.publish(view)
            #expect(await get("/readyz", from: routes).status == 200)
            routes.withdraw()
        }
    }

    @Test func `metrics have the media type of their format`() async {
        view.metrics.counter("c_total", "C.").increment()
        let response = await get("/metrics")
        #expect(response.contentType == "text/plain; version=0.0.4; charset=utf-8")
        #expect(response.body.hasSuffix("c_total 1\n"))
    }
}

@Suite struct `The admin token` {
    private let secret = "0123456789abcdef"

    @Test func `what could be guessed or not be sent is no token`() {
        #expect(AdminToken("short") == nil)
        #expect(AdminToken("0123456789abcde ") == nil)
        #expect(AdminToken("0123456789abcdé") == nil)
        #expect(AdminToken(String(repeating: "a", count: 1_025)) == nil)
        #expect(AdminToken(secret) != nil)
    }

    @Test func `only the whole token admits`() throws {
        let token = try #require(AdminToken(secret))
        #expect(token.admits("Bearer \(secret)") && token.admits("bearer \(secret)"))
        let wrong = [
            nil, "", "Bearer", "Bearer ", secret, "Basic \(secret)", "Bearer \(secret)0",
            "Bearer \(secret)\(secret)", "Bearer \(secret.dropLast())", "Bearer 0123456789abcdeF",
            "Bearer 1123456789abcdef", "Bearer  \(secret)",
        ]
        for given in wrong { #expect(!token.admits(given), "\(given ?? "none")") }
    }

    @Test func `it is asked for everywhere but where probes look`() async {
        let routes = AdminRoutes(token: AdminToken(secret))
        routes.publish(ScriptedView())
        let open = ["/livez", "/readyz"]
        let closed = ["/metrics", "/admin/cluster/members", "/admin/nothing", "/", "/livez/"]
        for path in open + closed {
            for given in [nil, "Bearer \(secret)"] {
                let answer = routes.answer(
                    AdminRequest(method: "GET", path: path, authorization: given)
                )
                var isRefused = false
                if case .now(let response) = answer { isRefused = response.status == 401 }
                #expect(isRefused == (given == nil && closed.contains(path)), "\(path)")
            }
        }
    }
}
