// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer;

internal sealed class CaptionSourceTests
{
    private const string Caption = "Gist one. Detail two. Detail three. Detail four.";
    private static readonly string[] s_fillers = ["Filler a.", "Filler b."];

    [Test]
    public void One_sentence_captions_are_gist_detail_or_filler_in_their_shares()
    {
        CaptionSource source = new(Config() with { Captions = CaptionUse.OneSentence }, s_fillers);
        const int Count = 20_000;
        string[] drawn = [.. Enumerable.Range(0, Count).Select(index => source.Apply(Caption, 0, index))];
        AssertShare("Gist one.", 0.5);
        AssertShare("Detail two.", 0.42 / 3);
        AssertShare("Detail three.", 0.42 / 3);
        AssertShare("Detail four.", 0.42 / 3);
        AssertShare("Filler a.", 0.04);
        AssertShare("Filler b.", 0.04);

        void AssertShare(string sentence, double expected) => Assert.That(
            drawn.Count(text => text == sentence) / (double)Count,
            Is.EqualTo(expected).Within(5.0 * Math.Sqrt(expected * (1.0 - expected) / Count)),
            sentence);
    }

    [Test]
    public void Half_of_the_whole_captions_are_cut_and_fillers_come_after_the_gist()
    {
        CaptionSource source = new(Config() with { CutShare = 0.5, Filler = 1.0 }, s_fillers);
        const int Count = 20_000;
        string[] drawn = [.. Enumerable.Range(0, Count).Select(index => source.Apply(Caption, 0, index))];
        Assert.That(drawn, Has.All.StartsWith("Gist one."));

        // A cut caption lacks its last sentence unless the cut falls behind it; without fillers that is a quarter of the cuts.
        string[] withoutFiller = [.. drawn.Where(text => !text.Contains("Filler", StringComparison.Ordinal))];
        Assert.That(withoutFiller.Select(text => Sentences.Split(text).Count).Distinct(), Is.EquivalentTo(new[] { 1, 2, 3, 4 }));
        Assert.That(drawn.Count(text => text.EndsWith("Detail four.", StringComparison.Ordinal) || text.Contains("Detail four. F", StringComparison.Ordinal)), Is.InRange(Count / 2, Count * 3 / 4));
    }

    [Test]
    public void A_caption_depends_on_seed_epoch_and_index_and_on_nothing_else()
    {
        CaptionSource source = new(Config() with { CutShare = 0.5, Filler = 1.0 }, s_fillers), same = new(Config() with { CutShare = 0.5, Filler = 1.0 }, s_fillers);
        CaptionSource other = new(Config() with { CutShare = 0.5, Filler = 1.0, Seed = 1 }, s_fillers);
        string[] first = Draw(source, 0);
        Assert.That(Draw(same, 0), Is.EqualTo(first));
        Assert.That(Draw(source, 1), Is.Not.EqualTo(first));
        Assert.That(Draw(other, 0), Is.Not.EqualTo(first));

        static string[] Draw(CaptionSource source, long epoch) => [.. Enumerable.Range(0, 50).Select(index => source.Apply(Caption, epoch, 49 - index)).Reverse()];
    }

    [Test]
    public void Fillers_that_the_data_lack_are_an_error()
    {
        Assert.That(() => new CaptionSource(Config() with { Filler = 1.0 }, []), Throws.TypeOf<UserError>().With.Message.Contains("filler"));
        Assert.That(() => new CaptionSource(Config() with { Captions = CaptionUse.OneSentence }, []), Throws.TypeOf<UserError>().With.Message.Contains("--captions whole"));
        Assert.That(() => new CaptionSource(Config() with { CutShare = 1.5 }, []), Throws.TypeOf<UserError>().With.Message.Contains("1.5"));
    }

    private static TrainingConfig Config() => new() { Data = "" };
}
