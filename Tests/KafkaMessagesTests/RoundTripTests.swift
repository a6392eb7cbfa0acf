import Bytes
import KafkaMessages
import Testing

/// Every message in every version comes back as it was written.
@Suite struct RoundTripTests {
    @Test func `every message of the catalog has a sample`() {
        #expect(Subject.all.count == MessageCatalog.all.count)
        #expect(Set(Subject.all.map { $0.type.name }).count == MessageCatalog.all.count)
        for key in APIKey.allCases {
            #expect(!key.validVersions.isEmpty)
        }
    }

    @Test(arguments: Subject.all)
    func `filled in every field`(subject: Subject) throws {
        try roundTrip(subject.type, leavesOut: false)
    }

    @Test(arguments: Subject.all)
    func `null wherever it may be`(subject: Subject) throws {
        try roundTrip(subject.type, leavesOut: true)
    }

    private func roundTrip<M: SampledMessage>(_ type: M.Type, leavesOut: Bool) throws {
        for version in M.validVersions {
            let sample = M.sample(version: version, leavesOut: leavesOut)
            let bytes = try sample.encoded(version: version)
            let back = try M.decoded(bytes, version: version)
            #expect(back == sample, "\(M.name) \(version)")
            #expect(try back.encoded(version: version) == bytes, "\(M.name) \(version)")
        }
    }

    @Test(arguments: Subject.all)
    func `with nothing but defaults`(subject: Subject) throws {
        func roundTrip<M: SampledMessage>(_ type: M.Type) throws {
            for version in M.validVersions {
                let bytes = try M().encoded(version: version)
                let back = try M.decoded(bytes, version: version)
                #expect(back == M(), "\(M.name) \(version)")
            }
        }
        try roundTrip(subject.type)
    }

    @Test(arguments: Subject.all)
    func `bytes after the last field are told`(subject: Subject) throws {
        func check<M: SampledMessage>(_ type: M.Type) throws {
            for version in M.validVersions {
                let bytes = try M.sample(version: version).encoded(version: version)
                #expect(throws: MalformedBytes.trailingBytes(1)) {
                    try M.decoded(ByteSlice(bytes.array + [0]), version: version)
                }
            }
        }
        try check(subject.type)
    }

    @Test func `what a version cannot carry is refused in a request`() {
        var request = ProduceRequest()
        request.transactionalId = "t"
        let problem = EncodingProblem.fieldNotInVersion(
            message: "ProduceRequest",
            field: "TransactionalId",
            version: 2
        )
        #expect(throws: problem) { try request.encoded(version: 2) }
        #expect(throws: Never.self) { try request.encoded(version: 3) }
    }

    @Test func `a text too long for its length is refused, not cut`() {
        var request = ProduceRequest()
        request.transactionalId = String(repeating: "t", count: 32_768)
        #expect(throws: EncodingProblem.stringTooLong(32_768)) { try request.encoded(version: 3) }
        #expect(throws: Never.self) { try request.encoded(version: 9) }
    }

    @Test func `null where a version does not allow it is refused`() throws {
        var request = MetadataRequest()
        request.topics = nil
        #expect(throws: EncodingProblem.self) { try request.encoded(version: 0) }
        let bytes = try request.encoded(version: 1)
        #expect(try MetadataRequest.decoded(bytes, version: 1).topics == nil)
        #expect(throws: MalformedBytes.unexpectedNull(field: "Topics")) {
            try MetadataRequest.decoded(ByteSlice([0xff, 0xff, 0xff, 0xff]), version: 0)
        }
    }
}
