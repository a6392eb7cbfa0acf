import FuzzDriver
import KafkaMessages

require(RequestType.all.map(\.key) == APIKey.allCases, "the APIs are \(APIKey.allCases)")

// A stream and how it is cut into reads; or a message's number, its version and its bytes.
FuzzProgram.run(seeds: RequestSeeds.all) { bytes in
    var input = FuzzInput(bytes)
    switch input.byte() & 1 {
    case 0:
        let pieces = input.byte()
        ClientStream.check(input.rest(), pieces: pieces)
    default:
        let codec = Codec.all[Int(input.byte()) % Codec.all.count]
        let version = codec.versions.lowerBound + Int16(input.byte()) % Int16(codec.versions.count)
        codec.check(input.rest(), version)
    }
}
