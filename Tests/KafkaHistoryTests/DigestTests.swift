import Testing

@testable import KafkaHistory

@Suite struct DigestTests {
    @Test func `digests are those of the standard`() {
        #expect(
            SHA256.hexadecimalDigest(of: Array("abc".utf8))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
        #expect(
            SHA256.hexadecimalDigest(of: [])
                == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        )
        #expect(
            SHA256.hexadecimalDigest(of: [UInt8](repeating: 97, count: 200))
                == "c2a908d98f5df987ade41b5fce213067efbcc21ef2240212a41e54b5e7c28ae5"
        )
    }

    @Test func `base64 goes there and back`() {
        for count in 0..<20 {
            let bytes = (0..<count).map { UInt8($0 * 37 % 256) }
            #expect(Base64.decode(Base64.encode(bytes)) == bytes)
        }
        #expect(Base64.encode(Array("hello".utf8)) == "aGVsbG8=")
        #expect(Base64.decode("aGVsbG8") == nil)
        #expect(Base64.decode("aG*s") == nil)
    }
}
