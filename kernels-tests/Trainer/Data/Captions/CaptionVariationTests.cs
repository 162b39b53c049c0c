// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class CaptionVariationTests
{
    private const string Caption = "one . two . three . four .";

    [TestCase("one. Two! Three?", new[] { "one.", "Two!", "Three?" })]
    [TestCase("one . two .", new[] { "one .", "two ." })]
    [TestCase("It costs 3.5 euros. \"Go.\" He went", new[] { "It costs 3.5 euros.", "\"Go.\"", "He went" })]
    [TestCase("no stop", new[] { "no stop" })]
    [TestCase("  ", new string[0])]
    [TestCase("Wait... what?!", new[] { "Wait...", "what?!" })]
    public void Captions_split_into_sentences(string caption, string[] sentences) => Assert.That(Sentences.Split(caption), Is.EqualTo(sentences));

    [Test]
    public void Without_options_nothing_changes() => Assert.That(CaptionVariation.None.Apply("A  b. C", 1, 2, 3), Is.EqualTo("A  b. C"));

    [Test]
    public void Half_of_the_captions_is_cut_and_every_length_occurs_as_often()
    {
        CaptionVariation variation = new() { CutShare = 0.5 };
        int[] lengths = new int[5];
        for (int i = 0; i < 8000; i++)
        {
            string varied = variation.Apply(Caption, seed: 1, epoch: 0, index: i);
            Assert.That(Caption, Does.StartWith(varied));
            lengths[Sentences.Split(varied).Count]++;
        }

        Assert.Multiple(() =>
        {
            // Each of 1, 2 and 3 sentences: an eighth, 1000 of 8000, standard deviation 30; uncut or cut after the last: the rest.
            Assert.That(lengths[1..4], Has.All.InRange(850, 1150));
            Assert.That(lengths[4], Is.InRange(4800, 5200));
        });
    }

    [Test]
    public void Fillers_come_between_sentences_and_never_first()
    {
        CaptionVariation variation = new() { FillerMean = 1.0, Fillers = ["filler a .", "filler b ."] };
        int inserted = 0;
        HashSet<string> seen = [];
        for (int i = 0; i < 4000; i++)
        {
            List<string> sentences = Sentences.Split(variation.Apply(Caption, seed: 1, epoch: 0, index: i));
            Assert.That(sentences[0], Is.EqualTo("one ."));
            Assert.That(sentences.Where(sentence => !sentence.StartsWith("filler")), Is.EqualTo(Sentences.Split(Caption)));
            inserted += sentences.Count - 4;
            seen.UnionWith(sentences);
        }

        Assert.Multiple(() =>
        {
            Assert.That(inserted, Is.InRange(3680, 4320)); // Poisson total 4000, standard deviation 63: five of them
            Assert.That(seen, Is.SupersetOf(variation.Fillers));
        });
    }

    [Test]
    public void The_result_depends_on_seed_epoch_and_index_alone()
    {
        CaptionVariation variation = new() { CutShare = 0.5, FillerMean = 1.0, Fillers = ["f ."] };
        string[] whole = Run(1, 0);
        Assert.Multiple(() =>
        {
            Assert.That(variation.Apply(Caption, 1, 0, 17), Is.EqualTo(whole[17]), "no state is carried from record to record");
            Assert.That(Run(2, 0), Is.Not.EqualTo(whole));
            Assert.That(Run(1, 1), Is.Not.EqualTo(whole));
        });

        string[] Run(int seed, int epoch) => [.. Enumerable.Range(0, 50).Select(index => variation.Apply(Caption, seed, epoch, index))];
    }

    [TestCase(-0.1, 0, "share of cut captions")]
    [TestCase(double.NaN, 0, "share of cut captions")]
    [TestCase(1.1, 0, "share of cut captions")]
    [TestCase(0, -1, "mean number of filler")]
    [TestCase(0, 101, "mean number of filler")]
    [TestCase(0, 1, "the data bring none")]
    public void Bad_options_are_refused(double cut, double fillers, string reason) =>
        Assert.That(() => new CaptionVariation { CutShare = cut, FillerMean = fillers }.Validate(), Throws.TypeOf<UserError>().With.Message.Contains(reason));
}
