// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>What a run reads of a caption at a given time; a function of seed, epoch and index alone.</summary>
internal sealed class CaptionSource
{
    // One-sentence captions: how often the first sentence and how often a filler is taken; otherwise a random other sentence.
    private const double GistShare = 0.5;
    private const double FillerShare = 0.08;

    private readonly CaptionUse _use;
    private readonly CaptionVariation _variation;
    private readonly long _seed;

    /// <summary>Captions of a run.</summary>
    /// <param name="config">Says what is taken.</param>
    /// <param name="fillers">Filler sentences that the data bring.</param>
    /// <exception cref="UserError">An option is outside its range, or fillers are wanted and the data bring none.</exception>
    public CaptionSource(TrainingConfig config, IReadOnlyList<string> fillers)
    {
        (_use, _seed) = (config.Captions, config.Seed);
        _variation = new CaptionVariation { CutShare = config.CutShare, FillerMean = config.Filler, Fillers = fillers };
        _variation.Validate();
        if (_use == CaptionUse.OneSentence && fillers.Count == 0)
        {
            throw new UserError("one-sentence captions take fillers, but the data bring none; use --captions whole");
        }
    }

    /// <summary>The caption as training sees it this time.</summary>
    /// <param name="caption">The whole caption.</param>
    /// <param name="epoch">How often the data were gone through before.</param>
    /// <param name="index">The record's position in the data set.</param>
    public string Apply(string caption, long epoch, long index) =>
        _use == CaptionUse.Whole ? _variation.Apply(caption, _seed, epoch, index) : OneSentence(caption, new SeededRandom(_seed, epoch, index));

    private string OneSentence(string caption, SeededRandom random)
    {
        double drawn = random.NextDouble();
        List<string> sentences = Sentences.Split(caption);
        return drawn >= 1.0 - FillerShare ? _variation.Fillers[random.Next(0, _variation.Fillers.Count)]
            : drawn < GistShare || sentences.Count < 2 ? sentences.FirstOrDefault("")
            : sentences[random.Next(1, sentences.Count)];
    }
}
