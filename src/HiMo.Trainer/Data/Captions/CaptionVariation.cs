// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// What training does to a caption before it is tokenised: filler sentences are put between its sentences, never before the first, and a
/// share of the captions is cut after a random sentence. The result is a function of seed, epoch and index alone, so it does not depend on
/// batch size, worker count or where a run was resumed.
/// </summary>
internal sealed record CaptionVariation
{
    /// <summary>No change.</summary>
    public static CaptionVariation None { get; } = new();

    /// <summary>Share of the captions that is cut, from 0 to 1. A cut keeps 1 to all sentences, each number equally likely.</summary>
    public double CutShare { get; init; }

    /// <summary>Mean number of filler sentences per caption (Poisson), from 0 to 100.</summary>
    public double FillerMean { get; init; }

    /// <summary>Where the filler sentences are drawn from.</summary>
    public IReadOnlyList<string> Fillers { get; init; } = [];

    /// <summary>Checks the options.</summary>
    /// <exception cref="UserError">A value is outside its range, or fillers are wanted and none are given.</exception>
    public void Validate()
    {
        if (!(CutShare >= 0 && CutShare <= 1))
        {
            throw new UserError($"the share of cut captions is {CutShare}; it lies from 0 to 1");
        }

        if (!(FillerMean >= 0 && FillerMean <= 100))
        {
            throw new UserError($"the mean number of filler sentences is {FillerMean}; it lies from 0 to 100");
        }

        if (FillerMean > 0 && Fillers.Count == 0)
        {
            throw new UserError($"{FillerMean} filler sentences per caption are wanted, but the data bring none; set it to 0");
        }
    }

    /// <summary>The caption as training sees it this time.</summary>
    /// <param name="caption">The whole caption.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="epoch">How often the data were gone through before.</param>
    /// <param name="index">The record's position in the data set.</param>
    public string Apply(string caption, long seed, long epoch, long index)
    {
        if (CutShare == 0 && FillerMean == 0)
        {
            return caption;
        }

        List<string> sentences = Sentences.Split(caption);
        if (sentences.Count == 0)
        {
            return caption;
        }

        SeededRandom random = new(seed, epoch, index);
        int fillers = FillerMean > 0 ? random.NextPoisson(FillerMean) : 0;
        for (int i = 0; i < fillers; i++)
        {
            sentences.Insert(random.Next(1, sentences.Count + 1), Fillers[random.Next(0, Fillers.Count)]);
        }

        int kept = random.NextDouble() < CutShare ? random.Next(1, sentences.Count + 1) : sentences.Count;
        return string.Join(' ', sentences.Take(kept));
    }
}
