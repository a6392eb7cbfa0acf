package import Platform

/// How a setting's value is written, read and limited.
package struct ValueType<Value: Sendable>: Sendable {
    /// Word for the value in help: `SIZE`, `DURATION`.
    package let placeholder: String
    /// What may stand there, as a phrase after "expected".
    package let allowed: String
    package let parse: @Sendable (String) -> Value?
    /// As people write it, with units.
    package let text: @Sendable (Value) -> String
    /// As Kafka's tools write it: numbers bare.
    package let plain: @Sendable (Value) -> String
}

extension ValueType<Int> {
    package static func count(_ range: ClosedRange<Int>) -> Self {
        Self(
            placeholder: "N",
            allowed: "a whole number \(describe(range) { "\($0)" })",
            parse: { Int($0).flatMap { range.contains($0) ? $0 : nil } },
            text: { "\($0)" },
            plain: { "\($0)" }
        )
    }

    /// Bytes; a lower bound of -1 says that -1 stands for "no limit".
    package static func bytes(_ range: ClosedRange<Int>) -> Self {
        Self(
            placeholder: "SIZE",
            allowed: "a size such as 65536, 64KiB or 1GiB, \(describe(range, ByteSize.text))",
            parse: { text in
                let value = text == "-1" ? -1 : ByteSize.parse(text)
                return value.flatMap { range.contains($0) ? $0 : nil }
            },
            text: { $0 == -1 ? "-1" : ByteSize.text($0) },
            plain: { "\($0)" }
        )
    }

    /// Time counted in `unit`; a lower bound of -1 says that -1 stands for "no limit".
    package static func duration(_ unit: TimeUnit, _ range: ClosedRange<Int>) -> Self {
        Self(
            placeholder: "DURATION",
            allowed: "a duration such as 500ms, 30s or 7d, or a number of \(unit), "
                + describe(range, unit.text),
            parse: { unit.parse($0).flatMap { range.contains($0) ? $0 : nil } },
            text: { unit.text($0) },
            plain: { "\($0)" }
        )
    }

    private static func describe(_ range: ClosedRange<Int>, _ text: (Int) -> String) -> String {
        let least = range.lowerBound == -1 ? 0 : range.lowerBound
        let bounds =
            range.upperBound == .max
            ? "\(text(least)) or more" : "\(text(least)) to \(text(range.upperBound))"
        return range.lowerBound == -1 ? bounds + ", or -1 for no limit" : bounds
    }
}

extension ValueType<Bool> {
    package static let flag = Self(
        placeholder: "true|false",
        allowed: "true or false",
        parse: { Bool($0) },
        text: { "\($0)" },
        plain: { "\($0)" }
    )
}

extension ValueType<String> {
    package static func text(_ placeholder: String, _ allowed: String) -> Self {
        Self(
            placeholder: placeholder,
            allowed: allowed,
            parse: { $0.isEmpty ? nil : $0 },
            text: { $0 },
            plain: { $0 }
        )
    }

    package static func choice(_ names: [String]) -> Self {
        Self(
            placeholder: names.joined(separator: "|"),
            allowed: names.count == 1
                ? "only \(names[0])" : "one of \(names.joined(separator: ", "))",
            parse: { names.contains($0) ? $0 : nil },
            text: { $0 },
            plain: { $0 }
        )
    }
}

extension ValueType<SocketAddress> {
    /// `HOST:PORT`, with Kafka's `PLAINTEXT://` before it or without.
    package static let address = Self(
        placeholder: "HOST:PORT",
        allowed: "HOST:PORT, [IPV6]:PORT or :PORT",
        parse: { text in
            let scheme = "PLAINTEXT://"
            return SocketAddress(
                text.hasPrefix(scheme) ? String(text.dropFirst(scheme.count)) : text
            )
        },
        text: { "\($0)" },
        plain: { "\($0)" }
    )
}

extension ValueType<AdminAddress> {
    package static let adminAddress = Self(
        placeholder: "HOST:PORT|none",
        allowed: ValueType<SocketAddress>.address.allowed + ", or none",
        parse: { text in
            if text == "none" { return AdminAddress.none }
            return SocketAddress(text).map(AdminAddress.at)
        },
        text: { if case .at(let address) = $0 { "\(address)" } else { "none" } },
        plain: { if case .at(let address) = $0 { "\(address)" } else { "none" } }
    )
}

extension ValueType<Logger.Level> {
    package static let logLevel = Self(
        placeholder: Logger.Level.allCases.map { "\($0)" }.joined(separator: "|"),
        allowed: "one of \(Logger.Level.allCases.map { "\($0)" }.joined(separator: ", "))",
        parse: { Logger.Level(name: $0) },
        text: { "\($0)" },
        plain: { "\($0)" }
    )
}

extension ValueType<Logger.Format> {
    package static let logFormat = Self(
        placeholder: "text|json",
        allowed: "text or json",
        parse: { Logger.Format(rawValue: $0) },
        text: { $0.rawValue },
        plain: { $0.rawValue }
    )
}
