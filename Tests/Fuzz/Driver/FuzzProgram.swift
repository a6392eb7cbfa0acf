package import Bytes
import Glibc

/// libFuzzer's own loop, which calls the function for every input and reads the command line.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// One fuzz target: what is done with an input, and the inputs to begin with.
///
/// An input is fine if the target returns. Traps, sanitizer reports and ``finding(_:)`` are not.
package struct FuzzProgram {
    package typealias Target = (ByteSlice) -> Void

    /// A name and an input.
    package typealias Seed = (name: String, bytes: [UInt8])

    // Set once, before libFuzzer runs on the one thread there is.
    nonisolated(unsafe) private static var target: Target = { _ in }

    /// Runs as the command line says: `--write-seeds FOLDER`, or what libFuzzer understands.
    package static func run(seeds: () -> [Seed], _ body: @escaping Target) -> Never {
        let words = CommandLine.arguments
        if words.count == 3, words[1] == "--write-seeds" {
            for seed in seeds() { write(seed, to: words[2]) }
            exit(0)
        }
        target = body
        var count = CommandLine.argc
        var arguments = CommandLine.unsafeArgv
        exit(
            runDriver(&count, &arguments) { start, count in
                // A block of the input's own size, behind which the sanitizer looks.
                let input = UnsafeRawBufferPointer(start: start, count: count)
                FuzzProgram.target(ByteSlice(copying: input))
                return 0
            }
        )
    }

    private static func write(_ seed: Seed, to folder: String) {
        let path = folder + "/" + seed.name
        guard let file = fopen(path, "w") else { finding("\(path) cannot be written") }
        fwrite(seed.bytes, 1, seed.bytes.count, file)
        fclose(file)
    }
}

/// Ends the program: an input made the code do what it must not.
package func finding(_ text: String) -> Never {
    let line = "finding: \(text)\n"
    _ = line.withCString { Glibc.write(STDERR_FILENO, $0, strlen($0)) }
    abort()
}

/// Reports a finding unless `condition` holds.
package func require(_ condition: Bool, _ text: @autoclosure () -> String) {
    if !condition { finding(text()) }
}
