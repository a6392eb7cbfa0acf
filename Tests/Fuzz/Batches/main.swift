import FuzzDriver

FuzzProgram.run(seeds: BatchSeeds.all) { bytes in
    var input = FuzzInput(bytes)
    switch input.byte() & 3 {
    case 0: SentBatch.check(input.rest())
    case 1: SentBatch.check(Checksums.corrected(input.rest()))
    case 2: BatchChain.check(input.rest())
    default: BuiltBatch.check(&input)
    }
}
