import Bytes
import Glibc
import KafkaMessages

/// Decodes messages that another implementation encoded, and encodes them again.
///
/// Each line of standard input is `<message> <version> <hexadecimal bytes>`; the answer is a line of
/// hexadecimal bytes, or `error:` and what is wrong.
@main
enum CodecProbe {
    private struct Refusal: Error, CustomStringConvertible {
        let description: String
    }

    static func main() {
        let types = Dictionary(uniqueKeysWithValues: MessageCatalog.all.map { ($0.name, $0) })
        while let line = readLine() {
            do {
                print(try answer(line, types))
            } catch {
                print("error: \(error)")
            }
            // Whoever asks waits for the line.
            fflush(nil)
        }
    }

    private static func answer(
        _ line: String,
        _ types: [String: any KafkaMessage.Type]
    ) throws -> String {
        let words = line.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, let version = Int16(words[1]) else {
            throw Refusal(description: "not '<message> <version> <bytes>'")
        }
        guard let type = types[String(words[0])] else {
            throw Refusal(description: "no message \(words[0])")
        }
        guard type.validVersions.contains(version) else {
            throw Refusal(description: "versions \(type.validVersions)")
        }
        guard let bytes = bytes(words[2]) else { throw Refusal(description: "no hexadecimal") }
        return hexadecimal(try again(type, ByteSlice(bytes), version))
    }

    private static func again<M: KafkaMessage>(
        _ type: M.Type,
        _ bytes: ByteSlice,
        _ version: Int16
    ) throws -> ByteSlice {
        var reader = ByteReader(bytes)
        let message = try M(from: &reader, version: version)
        try reader.expectEnd()
        var writer = ByteWriter()
        try message.encode(into: &writer, version: version)
        return writer.finishContiguous()
    }

    private static func bytes(_ text: Substring) -> [UInt8]? {
        let digits = text.utf8.map { Character(Unicode.Scalar($0)).hexDigitValue }
        guard digits.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        for place in stride(from: 0, to: digits.count, by: 2) {
            guard let high = digits[place], let low = digits[place + 1] else { return nil }
            bytes.append(UInt8(high << 4 | low))
        }
        return bytes
    }

    private static func hexadecimal(_ bytes: ByteSlice) -> String {
        let digits = Array("0123456789abcdef")
        return String(bytes.array.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}
