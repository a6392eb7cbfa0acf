import Bytes
import KafkaMessages
import Testing

/// The protocol gives a string's length 15 bits; in compact form more could be written.
@Suite struct StringLengthTests {
    private func request(groupBytes: Int) throws -> ByteSlice {
        var request = HeartbeatRequest()
        request.groupId = String(repeating: "g", count: groupBytes)
        var writer = ByteWriter(capacity: groupBytes + 64)
        try request.encode(into: &writer, version: 4)
        return writer.finishContiguous()
    }

    @Test func `a compact string may be as long as any other`() throws {
        var reader = ByteReader(try request(groupBytes: 32_767))
        #expect(try HeartbeatRequest(from: &reader, version: 4).groupId.utf8.count == 32_767)
    }

    @Test func `a longer compact string is refused`() throws {
        var reader = ByteReader(try request(groupBytes: 32_768))
        #expect(throws: MalformedBytes.invalidLength(32_768)) {
            try HeartbeatRequest(from: &reader, version: 4)
        }
    }
}
