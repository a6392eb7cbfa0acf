import Bytes
import Glibc
import RaftGRPC

/// Our codec as a filter, for another implementation to compare itself with.
enum CodecLines {
    static func serve() {
        while let line = readLine() {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            let answer = words.count == 2 ? answer(String(words[0]), words[1]) : nil
            print(answer ?? "error")
            // Whoever asks waits for the line.
            fflush(nil)
        }
    }

    private static func answer(_ name: String, _ hexadecimal: Substring) -> String? {
        let digits = hexadecimal.utf8.compactMap { digit(Int($0)) }
        guard digits.count == hexadecimal.utf8.count, digits.count % 2 == 0 else { return nil }
        let bytes = stride(from: 0, to: digits.count, by: 2).map { place in
            UInt8(digits[place] << 4 | digits[place + 1])
        }
        return MessageCatalog.reencoded(name, ByteSlice(bytes)).map { encoded in
            encoded.array.map { byte in
                String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
            }.joined()
        }
    }

    private static func digit(_ byte: Int) -> Int? {
        switch byte {
        case 48...57: byte - 48
        case 97...102: byte - 87
        default: nil
        }
    }
}
