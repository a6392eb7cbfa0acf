import CTOML
import Glibc
import Platform

/// A configuration file as dotted keys with their values, in the order of the text.
struct TOMLFile {
    struct Entry: Equatable {
        let key: String
        let value: String
        let line: Int
    }

    let entries: [Entry]

    /// Reads the text of the file named `path`.
    init(_ text: String, path: String) throws(ConfigurationError) {
        var text = text
        guard
            let document = text.withUTF8({ bytes in
                bytes.withMemoryRebound(to: CChar.self) { ctoml_parse($0.baseAddress, $0.count) }
            })
        else { throw ConfigurationError("\(path): no memory to read it") }
        defer { ctoml_free(document) }
        guard ctoml_is_valid(document) != 0 else {
            let place = "\(ctoml_error_line(document)):\(ctoml_error_column(document))"
            let reason = Self.string(ctoml_error_message(document))
            throw ConfigurationError("\(path):\(place): not TOML: \(reason)")
        }
        entries = (0..<ctoml_entry_count(document)).map { index in
            let entry = ctoml_entry_at(document, index)
            return Entry(
                key: Self.string(entry.key),
                value: Self.string(entry.value),
                line: Int(entry.line)
            )
        }
    }

    private static func string(_ text: ctoml_text) -> String {
        let bytes = UnsafeRawBufferPointer(start: text.bytes, count: text.count)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The text of a file of at most 1 MiB.
    static func read(_ path: String) throws(ConfigurationError) -> String {
        let limit = 1 << 20
        guard let file = fopen(path, "r") else {
            throw ConfigurationError("\(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: limit + 1)
        let count = fread(&bytes, 1, bytes.count, file)
        guard ferror(file) == 0 else {
            throw ConfigurationError("\(path): \(String(cString: strerror(errno)))")
        }
        guard count <= limit else {
            throw ConfigurationError("\(path): larger than \(ByteSize.text(limit))")
        }
        guard let text = String(validating: bytes[..<count], as: UTF8.self) else {
            throw ConfigurationError("\(path): not UTF-8")
        }
        return text
    }
}
