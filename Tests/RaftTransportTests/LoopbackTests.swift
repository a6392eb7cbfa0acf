import Bytes
import Platform
import Raft
import RaftRuntime
import Synchronization
import Testing

@testable import RaftTransport

/// Transports of one process over real sockets.
@Suite(.timeLimit(.minutes(10))) struct `Nodes over loopback` {
    @Test func `frames of every stream arrive in order`() async throws {
        let one = try await RealNode(1)
        let two = try await RealNode(2)
        try await RealNode.introduce(one, two)
        for number in 0..<3_000 {
            for stream in PeerFrame.Stream.allCases {
                one.transport.send(Numbered.frame(number, on: stream), to: two.id)
            }
        }
        await two.recorder.wait { $0.frames.count == 12_000 }
        let frames = two.recorder.seen.frames(from: one.id)
        for stream in PeerFrame.Stream.allCases {
            let expected = (0..<3_000).map { Numbered.frame($0, on: stream) }
            #expect(frames.filter { $0.stream == stream } == expected)
        }
        #expect(one.counts("raft_transport_connections{direction=\"outgoing\"} 4"))
        #expect(two.counts("raft_transport_frames_received_total{stream=\"liveness\"} 3000"))
        await one.stop()
        await two.stop()
    }

    @Test func `three nodes talk to each other`() async throws {
        let nodes = [
            try await RealNode(1), try await RealNode(2), try await RealNode(3),
        ]
        try await RealNode.introduce(nodes[0], nodes[1], nodes[2])
        for number in 0..<200 {
            for from in nodes {
                for to in nodes where to !== from {
                    from.transport.send(Numbered.frame(number), to: to.id)
                }
            }
        }
        for node in nodes {
            await node.recorder.wait { $0.frames.count == 400 }
            for peer in nodes where peer !== node {
                #expect(
                    node.recorder.seen.frames(from: peer.id)
                        == (0..<200).map { Numbered.frame($0) }
                )
            }
        }
        for node in nodes { await node.stop() }
    }

    @Test func `large frames arrive whole, one of them in many reads`() async throws {
        let one = try await RealNode(1)
        let two = try await RealNode(2)
        try await RealNode.introduce(one, two)
        let sizes = [0, 1, 30, 2_047, 2_048, 32_000, 65_536, 1_000_000, 3_000_000]
        for (number, size) in sizes.enumerated() {
            one.transport.send(Numbered.messages(UInt64(number), bytes: size), to: two.id)
        }
        await two.recorder.wait { $0.frames.count == sizes.count }
        let expected = sizes.enumerated().map {
            Numbered.messages(UInt64($0.offset), bytes: $0.element)
        }
        #expect(two.recorder.seen.frames(from: one.id) == expected)
        await one.stop()
        await two.stop()
    }

    @Test func `a peer that restarts is found again`() async throws {
        let one = try await RealNode(1)
        var two = try await RealNode(2)
        try await RealNode.introduce(one, two)
        one.transport.send(Numbered.frame(1), to: two.id)
        await two.recorder.wait { $0.frames.count == 1 }
        for life in UInt64(2)...4 {
            one.recorder.forget()
            await two.stop()
            await one.recorder.wait { $0.unreachable.contains(ReplicaID(2)) }
            two = try await RealNode(2, incarnation: life, port: two.address.port)
            try await RealNode.introduce(one, two)
            // What is sent while nobody is connected may be dropped: a peer says it again.
            let recorder = two.recorder
            let number = Int(life)
            while recorder.seen.frames.isEmpty {
                one.transport.send(Numbered.frame(number), to: two.id)
                try Task.checkCancellation()
                await Task.yield()
            }
            #expect(recorder.seen.frames.first?.frame == Numbered.frame(number))
        }
        await one.stop()
        await two.stop()
    }

    @Test func `a peer that moves is dialed at its new address`() async throws {
        let one = try await RealNode(1)
        let old = try await RealNode(2)
        try await RealNode.introduce(one, old)
        one.transport.send(Numbered.frame(1), to: old.id)
        await old.recorder.wait { $0.frames.count == 1 }
        let new = try await RealNode(2, incarnation: 2)
        new.transport.setPeers([one.id: one.address])
        one.transport.setPeers([new.id: new.address])
        let recorder = new.recorder
        while recorder.seen.frames.isEmpty {
            one.transport.send(Numbered.frame(2), to: new.id)
            try Task.checkCancellation()
            await Task.yield()
        }
        await one.stop()
        await old.stop()
        await new.stop()
    }

    @Test func `an HTTP/2 connection is handed over with its first bytes unread`() async throws {
        let handed = Mutex<AcceptedConnection?>(nil)
        let (stream, arrivals) = AsyncStream<Void>.makeStream()
        let node = try await RealNode(
            1,
            http2: { connection, read in
                #expect(read.isEmpty)
                handed.withLock { $0 = connection }
                arrivals.yield()
            }
        )
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        let address = node.address
        let client = try await Machine.on {
            let socket = try await Machine.loop.connect(address)
            try await socket.write(ByteRope(ByteSlice(preface)))
            return socket
        }
        for await _ in stream { break }
        let connection = try #require(handed.withLock { $0 })
        #expect(connection.descriptor >= 0)
        let read = try await Machine.on {
            let socket = try Machine.loop.adopt(connection)
            let bytes = try await RawCaller.read(preface.utf8.count, from: socket)
            socket.close()
            client.close()
            return bytes
        }
        #expect(read == Array(preface.utf8))
        await node.stop()
    }

    @Test func `after the end nothing is delivered or reported`() async throws {
        let one = try await RealNode(1)
        let two = try await RealNode(2)
        try await RealNode.introduce(one, two)
        one.transport.send(Numbered.frame(1), to: two.id)
        await two.recorder.wait { $0.frames.count == 1 }
        await two.stop()
        two.recorder.forget()
        for number in 0..<100 { one.transport.send(Numbered.frame(number), to: two.id) }
        await one.recorder.wait { !$0.unreachable.isEmpty }
        await one.stop()
        one.recorder.forget()
        one.transport.send(Numbered.frame(1), to: two.id)
        try await Machine.on {}
        #expect(two.recorder.seen.frames.isEmpty && two.recorder.seen.unreachable.isEmpty)
        #expect(one.recorder.seen.unreachable.isEmpty)
    }
}
