import Bytes
import Foundation
import KafkaMessages
import Testing

/// The primitives of the protocol guide, byte by byte.
@Suite struct PrimitiveTests {
    private func written(_ body: (inout ByteWriter) throws -> Void) rethrows -> [UInt8] {
        var writer = ByteWriter()
        try body(&writer)
        return writer.finishContiguous().array
    }

    @Test func `lengths are fixed in old versions and compact in flexible ones`() throws {
        #expect(try written { try $0.writeString("ab", flexible: false) } == [0, 2, 0x61, 0x62])
        #expect(try written { try $0.writeString("ab", flexible: true) } == [3, 0x61, 0x62])
        #expect(try written { try $0.writeString("", flexible: true) } == [1])
        #expect(written { $0.writeBytes(ByteSlice([9]), flexible: false) } == [0, 0, 0, 1, 9])
        #expect(written { $0.writeBytes(ByteSlice([9]), flexible: true) } == [2, 9])
        #expect(written { $0.writeCount(3, flexible: false) } == [0, 0, 0, 3])
        #expect(written { $0.writeCount(200, flexible: true) } == [0xc9, 0x01])
        #expect(written { $0.writeNullString(flexible: false) } == [0xff, 0xff])
        #expect(written { $0.writeNullString(flexible: true) } == [0])
        #expect(written { $0.writeNullLength(flexible: false) } == [0xff, 0xff, 0xff, 0xff])
        #expect(written { $0.writeNullLength(flexible: true) } == [0])
    }

    @Test(arguments: [false, true])
    func `null is read where it is allowed and refused where it is not`(flexible: Bool) throws {
        let text = ByteSlice(flexible ? [0] : [0xff, 0xff])
        let bytes = ByteSlice(flexible ? [0] : [0xff, 0xff, 0xff, 0xff])
        let refused = MalformedBytes.unexpectedNull(field: "f")
        var reader = ByteReader(text)
        #expect(try reader.readString(flexible: flexible, nullable: true, field: "f") == nil)
        reader = ByteReader(text)
        #expect(throws: refused) {
            try reader.readString(flexible: flexible, nullable: false, field: "f")
        }
        reader = ByteReader(text)
        #expect(throws: refused) { try reader.readString(flexible: flexible, field: "f") }
        reader = ByteReader(bytes)
        #expect(try reader.readBytes(flexible: flexible, nullable: true, field: "f") == nil)
        reader = ByteReader(bytes)
        #expect(throws: refused) { try reader.readBytes(flexible: flexible, field: "f") }
        reader = ByteReader(bytes)
        #expect(throws: refused) {
            try reader.readRecords(flexible: flexible, nullable: false, field: "f")
        }
        reader = ByteReader(bytes)
        let count = try reader.readCount(
            flexible: flexible,
            elementBytes: 1,
            nullable: true,
            field: "f"
        )
        #expect(count == nil)
    }

    @Test(arguments: [-2, -100, .min] as [Int32])
    func `a length below null is refused`(length: Int32) {
        let bytes = ByteSlice(written { $0.write(length) })
        let refused = MalformedBytes.invalidLength(Int64(length))
        var reader = ByteReader(bytes)
        #expect(throws: refused) {
            try reader.readBytes(flexible: false, nullable: true, field: "f")
        }
        reader = ByteReader(bytes)
        #expect(throws: refused) {
            try reader.readCount(flexible: false, elementBytes: 1, nullable: true, field: "f")
        }
        let short = Int16(truncatingIfNeeded: max(length, Int32(Int16.min)))
        reader = ByteReader(ByteSlice(written { $0.write(short) }))
        #expect(throws: MalformedBytes.invalidLength(Int64(short))) {
            try reader.readString(flexible: false, nullable: true, field: "f")
        }
    }

    @Test func `any byte but 0 is true`() throws {
        for byte in UInt8.min...UInt8.max {
            var reader = ByteReader(ByteSlice([byte]))
            #expect(try reader.readBool() == (byte != 0))
        }
    }

    @Test func `tagged fields are written in the order of their tags`() throws {
        let fields = [9, 2, 300].map { TaggedField(tag: $0, data: ByteSlice([UInt8($0 & 0xff)])) }
        let bytes = written { $0.writeTaggedFields(fields) }
        #expect(bytes == [3, 2, 1, 2, 9, 1, 9, 0xac, 0x02, 1, 44])
        var reader = ByteReader(ByteSlice(bytes))
        #expect(try reader.readTaggedFields().map(\.tag) == [2, 9, 300])
    }

    @Test func `a topic id is printed as Kafka prints it`() {
        #expect(KafkaUUID.zero.description == "AAAAAAAAAAAAAAAAAAAAAA")
        var high: UInt64 = 0x0123_4567_89ab_cdef
        var low: UInt64 = 0xfedc_ba98_7654_3210
        for _ in 0..<64 {
            let id = KafkaUUID(high: high, low: low)
            let base64 = Data(written { $0.write(id) }).base64EncodedString()
                .replacingOccurrences(of: "+", with: "-")
                .replacingOccurrences(of: "/", with: "_")
                .replacingOccurrences(of: "=", with: "")
            #expect(id.description == base64)
            high = high &* 6_364_136_223_846_793_005 &+ 1
            low = low &* 6_364_136_223_846_793_005 &+ 3
        }
    }

    // MARK: Headers

    @Test func `flexible versions have flexible headers, but for the answer to ApiVersions`() {
        #expect(APIKey.produce.requestHeaderVersion(for: 8) == 1)
        #expect(APIKey.produce.responseHeaderVersion(for: 8) == 0)
        #expect(APIKey.produce.requestHeaderVersion(for: 9) == 2)
        #expect(APIKey.produce.responseHeaderVersion(for: 9) == 1)
        #expect(APIKey.apiVersions.requestHeaderVersion(for: 3) == 2)
        #expect(APIKey.apiVersions.responseHeaderVersion(for: 3) == 0)
        for key in APIKey.allCases {
            for version in key.validVersions {
                let request = key.requestHeaderVersion(for: version)
                let response = key.responseHeaderVersion(for: version)
                #expect(request == (key.isFlexible(version: version) ? 2 : 1))
                #expect(response == request - 1 || key == .apiVersions && response == 0)
            }
        }
    }

    @Test func `the client id of a header is never compact, not even when it is null`() throws {
        var header = RequestHeader()
        header.requestApiKey = 18
        header.requestApiVersion = 3
        header.correlationId = 7
        header.clientId = nil
        let start: [UInt8] = [0, 18, 0, 3, 0, 0, 0, 7]
        #expect(try header.encoded(version: 1).array == start + [0xff, 0xff])
        #expect(try header.encoded(version: 2).array == start + [0xff, 0xff, 0])
        header.clientId = "c"
        #expect(try header.encoded(version: 2).array == start + [0, 1, 0x63, 0])
    }

    @Test func `a request of old and of new form, byte by byte`() throws {
        var request = ApiVersionsRequest()
        request.clientSoftwareName = "a"
        request.clientSoftwareVersion = "1.0"
        #expect(try request.encoded(version: 0).array == [])
        #expect(try request.encoded(version: 3).array == [2, 0x61, 4, 0x31, 0x2e, 0x30, 0])
        var metadata = MetadataRequest()
        var topic = MetadataRequest.MetadataRequestTopic()
        topic.name = "t"
        metadata.topics = [topic]
        #expect(
            try metadata.encoded(version: 4).array == [0, 0, 0, 1, 0, 1, 0x74, 1]
        )
        #expect(
            try metadata.encoded(version: 12).array
                == [2] + [UInt8](repeating: 0, count: 16) + [2, 0x74, 0, 1, 0, 0]
        )
    }
}
