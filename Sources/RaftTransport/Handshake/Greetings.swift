internal import Bytes
internal import Raft
internal import RaftRuntime

/// The versions of the protocol that this code speaks.
enum ProtocolVersion {
    static let spoken: ClosedRange<UInt8> = 1...1
}

/// What a caller says first.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | oldest version spoken |
/// | 1 | 1 | newest version spoken |
/// | 2 | 1 | stream: 0 messages, 1 liveness, 2 snapshots, 3 calls |
/// | 3 | 8 | id of the caller |
/// | 11 | 8 | id of the node that is called |
/// | 19 | 8 | incarnation of the caller |
/// | 27 | 1 | length of the cluster id |
/// | 28 | … | cluster id, UTF-8 |
/// | … | 1 | length of the id of the caller's data directory, 0 if it does not say |
/// | … | … | that id, UTF-8 |
///
/// Later versions may add fields behind, and keep these.
struct Hello: Equatable {
    var versions: ClosedRange<UInt8>
    /// A number, for a later version may know more streams.
    var stream: UInt8
    var caller: NodeIdentity
    var called: ReplicaID

    var bytes: ByteSlice {
        var writer = ByteWriter(capacity: 64)
        writer.write(versions.lowerBound)
        writer.write(versions.upperBound)
        writer.write(stream)
        writer.write(caller.node.rawValue)
        writer.write(called.rawValue)
        writer.write(caller.incarnation)
        writer.write(short: caller.cluster)
        writer.write(short: caller.directory)
        return Envelope.seal(Envelope.hello, writer.finishContiguous())
    }

    static func read(_ content: ByteSlice) throws(GreetingError) -> Hello {
        do {
            var reader = ByteReader(content)
            let versions = try reader.readVersions()
            let stream = try reader.read(UInt8.self)
            let node = ReplicaID(try reader.read(UInt64.self))
            let called = ReplicaID(try reader.read(UInt64.self))
            let incarnation = try reader.read(UInt64.self)
            let cluster = try reader.readShort()
            return Hello(
                versions: versions,
                stream: stream,
                caller: NodeIdentity(
                    cluster: cluster,
                    node: node,
                    incarnation: incarnation,
                    directory: try reader.readShort()
                ),
                called: called
            )
        } catch {
            throw .malformed
        }
    }
}

/// What the node that is called says to it.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | oldest version spoken |
/// | 1 | 1 | newest version spoken; the connection goes on in the newest both speak |
/// | 2 | 1 | 0 accepted, else the number of a ``HandshakeRefusal/Reason`` |
/// | 3 | 8 | id of the node that answers |
/// | 11 | 8 | its incarnation |
/// | 19 | 1 | length of its cluster id |
/// | 20 | … | cluster id, UTF-8 |
/// | … | 8 | of a duplicate: the incarnation of the other that goes by the caller's id, or 0 |
/// | … | 1 | length of the id of that other's data directory |
/// | … | … | that id, UTF-8 |
struct HelloAnswer: Equatable {
    var versions: ClosedRange<UInt8>
    var refusal: HandshakeRefusal.Reason?
    var answering: NodeIdentity
    var rival: NodeLife?

    var bytes: ByteSlice {
        var writer = ByteWriter(capacity: 64)
        writer.write(versions.lowerBound)
        writer.write(versions.upperBound)
        writer.write(refusal?.rawValue ?? 0)
        writer.write(answering.node.rawValue)
        writer.write(answering.incarnation)
        writer.write(short: answering.cluster)
        writer.write(rival?.incarnation ?? 0)
        writer.write(short: rival?.directory ?? "")
        return Envelope.seal(Envelope.answer, writer.finishContiguous())
    }

    static func read(_ content: ByteSlice) throws(GreetingError) -> HelloAnswer {
        do {
            var reader = ByteReader(content)
            let versions = try reader.readVersions()
            let number = try reader.read(UInt8.self)
            let refusal = HandshakeRefusal.Reason(rawValue: number)
            guard number == 0 || refusal != nil else { throw GreetingError.malformed }
            let node = ReplicaID(try reader.read(UInt64.self))
            let incarnation = try reader.read(UInt64.self)
            let cluster = try reader.readShort()
            let rival = NodeLife(
                incarnation: try reader.read(),
                directory: try reader.readShort()
            )
            return HelloAnswer(
                versions: versions,
                refusal: refusal,
                answering: NodeIdentity(cluster: cluster, node: node, incarnation: incarnation),
                rival: rival == NodeLife() ? nil : rival
            )
        } catch {
            throw .malformed
        }
    }
}

extension HandshakeRefusal {
    init(
        _ reason: Reason,
        of hello: Hello,
        by answer: HelloAnswer
    ) {
        self.init(
            reason: reason,
            caller: hello.caller,
            called: hello.called,
            answering: answer.answering,
            callerVersions: hello.versions,
            answeringVersions: answer.versions,
            rival: answer.rival
        )
    }
}

extension Hello {
    /// What is wrong with a caller, as far as its own words and the list of peers tell.
    func refusal(
        at node: NodeIdentity,
        _ versions: ClosedRange<UInt8> = ProtocolVersion.spoken,
        knows: (ReplicaID) -> Bool
    ) -> HandshakeRefusal.Reason? {
        if !versions.overlaps(self.versions) { return .unsupportedVersion }
        if caller.cluster != node.cluster { return .wrongCluster }
        if called != node.node { return .wrongNode }
        if caller.node == node.node { return .duplicateNode }
        if !knows(caller.node) { return .unknownPeer }
        if PeerFrame.Stream(rawValue: stream) == nil { return .unknownStream }
        return nil
    }
}

extension ByteWriter {
    fileprivate mutating func write(short text: String) {
        write(UInt8(truncatingIfNeeded: text.utf8.count))
        write(utf8: text)
    }
}

extension ByteReader {
    fileprivate mutating func readVersions() throws(MalformedBytes) -> ClosedRange<UInt8> {
        let oldest = try read(UInt8.self)
        let newest = try read(UInt8.self)
        guard oldest <= newest else { throw .unsupportedVersion(Int16(oldest)) }
        return oldest...newest
    }

    fileprivate mutating func readShort() throws(MalformedBytes) -> String {
        try readUTF8(Int(try read(UInt8.self)))
    }
}
