// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

public sealed class PositionalTableTests
{
    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [TestCase(StretchPrecision.F32, "positional_embedding_stretched_exact")]
    [TestCase(StretchPrecision.F16, "positional_embedding_stretched_official")]
    public void Golden_tables_are_met_to_the_last_bit(StretchPrecision precision, string expected)
    {
        using DisposeScope scope = NewDisposeScope();
        GoldenModel golden = new("clip77");
        Tensor stretched = PositionalTable.Stretch(golden.Load("positional_embedding_before").to(float32), precision);
        Assert.That(stretched.equal(golden.Load(expected).to(float32)).all().item<bool>(), Is.True);
    }

    [TestCase(21)]
    [TestCase(22)]
    [TestCase(77)]
    public void A_straight_line_stays_straight(int length)
    {
        using DisposeScope scope = NewDisposeScope();
        float[] stretched = PositionalTable.Stretch(arange(length, float32).reshape(-1, 1), StretchPrecision.F32).data<float>().ToArray();
        Assert.That(stretched, Is.EqualTo(Enumerable.Range(0, (4 * length) - 60).Select(k => k < 20 ? k : 20f + ((k - 20) / 4f))));
        Assert.That(stretched[^1], Is.EqualTo(length - 1 + 0.75f));
    }

    [TestCase(10)]
    [TestCase(20)]
    [TestCase(21)]
    [TestCase(30)]
    public void Merged_rows_come_from_the_right_table(int length)
    {
        using DisposeScope scope = NewDisposeScope();
        float[] merged = PositionalTable.Merge(zeros(30, 1), ones(30, 1), length).data<float>().ToArray();
        Assert.That(merged, Is.EqualTo(Enumerable.Range(0, length).Select(k => k < 20 ? 0f : 1f)));
    }
}
