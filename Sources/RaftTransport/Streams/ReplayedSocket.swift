internal import Bytes
internal import Platform

/// A socket of which something was read already, and is read once more.
final class ReplayedSocket: Socket, @unchecked Sendable {
    // Unchecked: confined to the loop of the socket behind it.
    private let rest: Socket
    private var first: ByteSlice

    init(_ first: ByteSlice, then rest: Socket) {
        self.first = first
        self.rest = rest
    }

    override var peer: String { rest.peer }

    override func read(
        into buffer: UnsafeMutableRawBufferPointer
    ) async throws(NetworkError) -> Int {
        guard !first.isEmpty else { return try await rest.read(into: buffer) }
        let count = min(first.count, buffer.count)
        first.withUnsafeBytes { buffer.copyMemory(from: .init(rebasing: $0[..<count])) }
        first = count == first.count ? ByteSlice() : first[count..<first.count]
        return count
    }

    override func peek() async throws(NetworkError) -> UInt8? {
        if let byte = first.withUnsafeBytes({ $0.first }) { return byte }
        return try await rest.peek()
    }

    override func write(_ rope: ByteRope) async throws(NetworkError) { try await rest.write(rope) }

    override func writeNow(_ bytes: ByteSlice) -> Int { rest.writeNow(bytes) }

    override func close() { rest.close() }
}
