internal import Bytes
internal import Platform

/// What a TLS client sends first, as far as it tells what will be spoken inside.
///
/// Layout, numbers big-endian:
///
/// | bytes | what |
/// |---|---|
/// | 5 | record: `16`, version (2), length (2) |
/// | 4 | handshake: `01`, length (3) |
/// | 2 + 32 | version, random |
/// | 1 + n, 2 + n, 1 + n | session, cipher suites, compression methods |
/// | 2 + n | extensions: type (2), length (2), content |
///
/// The extension `0010` lists protocols (ALPN), each behind its length (1).
enum ClientHello {
    private static let headerBytes = 5
    private static let maxRecordBytes = 16 << 10
    private static let protocols: UInt16 = 0x10
    private static let http2 = ByteSlice("h2")

    /// Reads the first record, and whatever came with it.
    static func read(from socket: Socket) async throws -> ByteSlice {
        let block = ByteStorage(capacity: headerBytes + maxRecordBytes)
        var count = 0
        var wanted = headerBytes
        while count < wanted {
            let room = UnsafeMutableRawBufferPointer(
                start: block.start + count,
                count: block.capacity - count
            )
            let read = try await socket.read(into: room)
            guard read > 0 else { throw GreetingError.ended }
            count += read
            if count >= headerBytes { wanted = min(recordBytes(block), block.capacity) }
        }
        return block.slice(0..<count)
    }

    private static func recordBytes(_ block: ByteStorage) -> Int {
        let length = block.start.loadUnaligned(fromByteOffset: 3, as: UInt16.self)
        return headerBytes + Int(UInt16(bigEndian: length))
    }

    /// Whether HTTP/2 is among what the client would speak, as it is for every gRPC client.
    ///
    /// A hello in more than one record says nothing here, nor does one that makes no sense.
    static func offersHTTP2(_ bytes: ByteSlice) -> Bool {
        (try? findHTTP2(bytes)) ?? false
    }

    private static func findHTTP2(_ bytes: ByteSlice) throws(MalformedBytes) -> Bool {
        var reader = ByteReader(bytes)
        try reader.skip(3)
        var record = ByteReader(try reader.readSlice(Int(try reader.readUInt16())))
        guard try record.read(UInt8.self) == 1 else { return false }
        try record.skip(3 + 2 + 32)
        try record.skip(Int(try record.read(UInt8.self)))
        try record.skip(Int(try record.readUInt16()))
        try record.skip(Int(try record.read(UInt8.self)))
        var extensions = ByteReader(try record.readSlice(Int(try record.readUInt16())))
        while extensions.remaining > 0 {
            let type = try extensions.readUInt16()
            let content = try extensions.readSlice(Int(try extensions.readUInt16()))
            if type == protocols { return try names(content).contains(http2) }
        }
        return false
    }

    private static func names(_ content: ByteSlice) throws(MalformedBytes) -> [ByteSlice] {
        var reader = ByteReader(content)
        var list = ByteReader(try reader.readSlice(Int(try reader.readUInt16())))
        var names: [ByteSlice] = []
        while list.remaining > 0 {
            names.append(try list.readSlice(Int(try list.read(UInt8.self))))
        }
        return names
    }
}
