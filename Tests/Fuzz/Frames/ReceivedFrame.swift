import Bytes
import FuzzDriver
import RaftRuntime

@testable import RaftTransport

/// Frames as a peer sends them, whole or as bodies whose checksum was right.
enum ReceivedFrame {
    private static let limit = 64 << 10

    /// Headers and bodies one behind the other, as a connection has them.
    static func checkStream(_ bytes: ByteSlice) {
        var rest = bytes
        while rest.count >= FrameHeader.byteCount {
            guard let header = try? FrameHeader(rest, limit: limit) else { return }
            let length = FrameHeader.byteCount + header.bodyLength
            require(length <= limit, "a frame of \(length) bytes is let through")
            guard rest.count >= length else { return }
            let body = rest[FrameHeader.byteCount..<length]
            guard (try? header.check(body)) != nil else { return }
            checkBody(kind: header.kind.rawValue, body)
            rest = rest.dropFirst(length)
        }
    }

    /// What can be read is the same when it is written and read again.
    static func checkBody(kind number: UInt8, _ body: ByteSlice) {
        let kinds = FrameHeader.Kind.allCases
        let kind = kinds[Int(number) % kinds.count]
        if kind == .receipt { _ = try? FrameCodec.readReceipt(body) }
        guard let read = try? FrameCodec.decode(kind, body) else { return }
        SentFrame.checkRoundTrip(read)
    }
}

/// What callers and answers say first.
enum ReceivedGreeting {
    static func check(_ bytes: ByteSlice) {
        if let hello = try? Hello.read(bytes) {
            let sealed = hello.bytes
            let header = sealed.prefix(Envelope.headerBytes)
            let content = sealed.dropFirst(Envelope.headerBytes)
            let length = try? Envelope.contentLength(header, magic: Envelope.hello)
            require(length == content.count, "a hello of \(content.count) bytes is not read")
            require((try? Hello.read(content)) == hello, "\(hello) is not read again")
        }
        if let answer = try? HelloAnswer.read(bytes) {
            let content = answer.bytes.dropFirst(Envelope.headerBytes)
            require((try? HelloAnswer.read(content)) == answer, "\(answer) is not read again")
        }
        guard bytes.count >= Envelope.headerBytes else { return }
        _ = try? Envelope.contentLength(bytes, magic: Envelope.hello)
        _ = try? Envelope.check(bytes, bytes.dropFirst(Envelope.headerBytes))
    }
}
