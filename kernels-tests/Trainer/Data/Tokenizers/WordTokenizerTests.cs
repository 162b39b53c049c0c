// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class WordTokenizerTests
{
    private static readonly WordTokenizer s_tokenizer = new(WordTokenizer.Layout([".", "a", "red", "circle", "t-shirt"])); // ids 1 to 5, start 6, end 7

    [TestCase("a red circle .", 8, new[] { 6, 2, 3, 4, 1, 7, 0, 0 })]
    [TestCase("A Red\tcircle.", 8, new[] { 6, 2, 3, 4, 1, 7, 0, 0 })]
    [TestCase("a red circle .", 6, new[] { 6, 2, 3, 4, 1, 7 })]
    [TestCase("a red circle .", 4, new[] { 6, 2, 3, 7 })]
    [TestCase("", 3, new[] { 6, 7, 0 })]
    [TestCase("a a a", 2, new[] { 6, 7 })]
    [TestCase("a t-shirt..", 7, new[] { 6, 2, 5, 1, 1, 7, 0 })]
    public void Text_becomes_ids(string text, int context, int[] ids) => Assert.That(s_tokenizer.Encode(text, context), Is.EqualTo(ids));

    [Test]
    public void The_end_token_is_the_first_highest_id() => // which is where the text encoder reads
        Assert.That(s_tokenizer.Encode("a red circle .", 10).Max(), Is.EqualTo(s_tokenizer.VocabSize - 1));

    [Test]
    public void The_whole_length_is_counted() => Assert.That(s_tokenizer.Count("a red circle."), Is.EqualTo(6));

    [Test]
    public void An_unknown_word_is_named() =>
        Assert.That(() => s_tokenizer.Encode("a blue circle", 8), Throws.TypeOf<UserError>().With.Message.Contains("'blue'"));

    [TestCase("<pad>|a|<sot>", "end with <eot>")]
    [TestCase("a|<sot>|<eot>", "begin with <pad>")]
    [TestCase("<pad>|a|<eot>", "lacks <sot>")]
    [TestCase("<pad>|a|a|<sot>|<eot>", "'a' twice")]
    [TestCase("", "1 words")]
    public void A_bad_word_list_is_refused(string words, string reason) =>
        Assert.That(() => new WordTokenizer(words.Split('|')), Throws.TypeOf<UserError>().With.Message.Contains(reason));
}
