// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Interop;

internal sealed class MoLoLossTests
{
    private const double LossTolerance = 2e-6;
    private const double GradientTolerance = 2e-4;

    private static IEnumerable<TestCaseData> GoldenCases() => GoldenLoss.All().Where(each => ((string)each.Arguments[0]!) != "n1024_d512");

    [TestCaseSource(nameof(GoldenCases))]
    public void Golden_losses_and_gradients(string folder, string id)
    {
        GoldenLoss golden = GoldenLoss.Open(folder, id);
        using TensorCase given = new(golden.Images(), golden.Texts(), golden.Rows, golden.Columns, golden.LogitScale);
        Assert.Multiple(() =>
        {
            foreach (IGrouping<(bool, BasisGradient), GoldenGradient> group in golden.Gradients().GroupBy(each => (each.GatherWithGrad, each.Basis)))
            {
                MoLoOptions options = golden.Options with { GatherWithGrad = group.Key.Item1, BasisGradient = group.Key.Item2 };
                using MoLoLoss module = new(options);
                module.Warning += _ => { };
                Outcome actual = given.Run(module);
                Expect.Loss(actual.Loss, golden.Total, LossTolerance, "total");
                Expect.LogitScaleGradient(actual.GradLogitScale, golden.GradLogitScale, golden.Total, GradientTolerance);
                foreach (GoldenGradient gradient in group)
                {
                    double[] part = gradient.Of(gradient.IsImage ? actual.GradImages : actual.GradTexts, golden.Columns);
                    Expect.Gradient(part, gradient.Values, GradientTolerance, $"{gradient.Name} {options.BasisGradient}");
                }
            }
        });
    }

    [Test]
    public void Progress_of_a_long_forward_goes_to_those_who_listen_during_it()
    {
        List<double> shares = [];
        using TensorCase given = TensorCase.Random(LogitBranch.TileRows + 5, 4);
        using MoLoLoss module = new();
        module.Warning += _ => { };
        module.Progress += shares.Add;
        _ = given.Run(module);
        Assert.That(shares, Is.Not.Empty.And.Ordered);
        Assert.That(shares[^1], Is.EqualTo(1.0));
        shares.Clear();
        module.Progress -= shares.Add;
        _ = given.Run(module);
        Assert.That(shares, Is.Empty);
    }

    [TestCase(ScalarType.Float64)]
    [TestCase(ScalarType.Float16)]
    [TestCase(ScalarType.BFloat16)]
    public void Other_types_are_computed_in_float32_and_get_gradients_of_their_own(ScalarType type)
    {
        using TensorCase given = TensorCase.Random(12, 20, type: type);
        using TensorCase same = new(
            Floats(given.Images), Floats(given.Texts), 12, 20, TensorCase.Values(given.LogitScale)[0]);
        using MoLoLoss module = new();
        Outcome expected = same.Run(module);
        using Tensor loss = module.forward(given.Images, given.Texts, given.LogitScale);
        loss.backward();
        Assert.Multiple(() =>
        {
            Assert.That(loss.dtype, Is.EqualTo(type == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32));
            Assert.That(given.Images.grad!.dtype, Is.EqualTo(type));
            Assert.That(given.LogitScale.grad!.dtype, Is.EqualTo(type));
            Assert.That(TensorCase.Values(given.Images.grad!), Is.EqualTo(Rounded(expected.GradImages, type)));
            Assert.That(TensorCase.Values(given.Texts.grad!), Is.EqualTo(Rounded(expected.GradTexts, type)));
        });
    }

    [Test]
    public void Row_major_float32_is_read_in_place_and_everything_else_copied_once()
    {
        using DisposeScope scope = NewDisposeScope();
        using TensorCase given = TensorCase.Random(12, 20);
        using MoLoLoss module = new();
        Outcome expected = given.Run(module);
        using IDisposable constant = no_grad();
        Tensor padded = cat([zeros(3, 20), given.Images, zeros(2, 20)], 0), wide = cat([given.Texts, zeros(12, 5)], 1);
        Assert.Multiple(() =>
        {
            Assert.That(CopiesOf(given.Images, given.Texts), Is.Zero, "row-major");
            Assert.That(CopiesOf(padded.narrow(0, 3, 12), given.Texts), Is.Zero, "storage offset");
            Assert.That(CopiesOf(given.Images.t().contiguous().t(), given.Texts), Is.EqualTo(1), "transposed");
            Assert.That(CopiesOf(given.Images, wide.narrow(1, 0, 20)), Is.EqualTo(1), "padded rows");
            Assert.That(CopiesOf(given.Images.to(ScalarType.Float64), given.Texts), Is.EqualTo(1), "float64");
        });

        long CopiesOf(Tensor images, Tensor texts)
        {
            long before = TensorMemory.Copies;
            using Tensor loss = module.forward(images, texts, given.LogitScale);
            Assert.That(TensorCase.Values(loss)[0], Is.EqualTo(expected.Loss).Within(1e-6));
            return TensorMemory.Copies - before;
        }
    }

    [Test]
    public void Strided_inputs_get_their_gradients()
    {
        using DisposeScope scope = NewDisposeScope();
        using TensorCase given = TensorCase.Random(12, 20);
        using MoLoLoss module = new();
        Outcome expected = given.Run(module);
        Tensor columns = given.Images.detach().t().contiguous().requires_grad_();
        module.forward(columns.t(), given.Texts, given.LogitScale).backward();
        Assert.That(TensorCase.Values(columns.grad!.t()), Is.EqualTo(expected.GradImages));
    }

    [TestCase(true, false, false)]
    [TestCase(false, true, false)]
    [TestCase(false, false, true)]
    [TestCase(true, false, true)]
    public void Frozen_inputs_get_no_gradient(bool images, bool texts, bool scale)
    {
        using DisposeScope scope = NewDisposeScope();
        using TensorCase given = TensorCase.Random(12, 20);
        using MoLoLoss module = new();
        Outcome expected = given.Run(module);
        Tensor v = given.Images.detach().requires_grad_(images), x = given.Texts.detach().requires_grad_(texts);
        Tensor s = given.LogitScale.detach().reshape(1).requires_grad_(scale);
        module.forward(v, x, s).backward();
        Assert.Multiple(() =>
        {
            Assert.That(v.grad is null ? null : TensorCase.Values(v.grad), Is.EqualTo(images ? expected.GradImages : null));
            Assert.That(x.grad is null ? null : TensorCase.Values(x.grad), Is.EqualTo(texts ? expected.GradTexts : null));
            Assert.That(s.grad is null ? double.NaN : TensorCase.Values(s.grad)[0], Is.EqualTo(scale ? expected.GradLogitScale : double.NaN).Within(1e-6));
        });
    }

    [Test]
    public void Without_recording_there_is_no_graph()
    {
        using TensorCase given = TensorCase.Random(12, 20);
        using MoLoLoss module = new();
        Outcome expected = given.Run(module);
        using (no_grad())
        {
            using Tensor loss = module.forward(given.Images, given.Texts, given.LogitScale);
            Assert.That(loss.requires_grad, Is.False);
            Assert.That(TensorCase.Values(loss)[0], Is.EqualTo(expected.Loss));
            Assert.That(module.LastResult.GradLogitScale, Is.Zero, "no backward pass was made");
        }
    }

    [Test]
    public void The_result_of_the_last_call_can_be_read()
    {
        using TensorCase given = TensorCase.Random(12, 20);
        using MoLoLoss module = new(new MoLoOptions { Lambda = 0.5 });
        Assert.That(module.LastSpectrum, Is.Empty);
        Outcome actual = given.Run(module);
        MoLoResult result = module.LastResult;
        Assert.Multiple(() =>
        {
            Assert.That(result.Loss, Is.EqualTo(actual.Loss).Within(1e-6));
            Assert.That(result.Global + (0.5 * result.Component), Is.EqualTo(result.Loss).Within(1e-12));
            Assert.That(result.M, Is.InRange(1, 11));
            Assert.That(result.ExplainedVariance, Is.InRange(0.9, 1.0));
            Assert.That(module.LastSpectrum, Has.Count.EqualTo(12).And.Ordered.Descending);
        });
    }

    [Test]
    public void The_outer_gradient_scales_and_repeated_backward_accumulates()
    {
        using DisposeScope scope = NewDisposeScope();
        using TensorCase given = TensorCase.Random(12, 20);
        using MoLoLoss module = new();
        Outcome expected = given.Run(module);
        Tensor loss = 3 * module.forward(given.Images, given.Texts, given.LogitScale);
        loss.backward(retain_graph: true);
        loss.backward();
        Expect.Gradient(TensorCase.Values(given.Images.grad!), [.. expected.GradImages.Select(value => 6 * value)], 1e-6, "images");
        Expect.Gradient(TensorCase.Values(given.Texts.grad!), [.. expected.GradTexts.Select(value => 6 * value)], 1e-6, "texts");
        Assert.That(TensorCase.Values(given.LogitScale.grad!)[0], Is.EqualTo(6 * expected.GradLogitScale).Within(1e-5));
    }

    [Test]
    public void A_second_differentiation_is_refused_and_the_process_goes_on()
    {
        using TensorCase given = TensorCase.Random(12, 20);
        using MoLoLoss module = new();
        using Tensor factor = ones(1).requires_grad_();
        using Tensor loss = module.forward(given.Images, given.Texts, given.LogitScale) * factor;
        Assert.That(() => loss.backward(create_graph: true), Throws.TypeOf<ExternalException>().With.Message.Contains("invalid gradient"));
        Assert.That(given.Images.grad, Is.Null, "nothing was accumulated");
        Assert.That(double.IsFinite(given.Run(module).Loss));
    }

    [Test]
    public void Mistakes_are_found_in_forward_and_name_the_argument()
    {
        using DisposeScope scope = NewDisposeScope();
        using TensorCase given = TensorCase.Random(12, 20);
        using MoLoLoss module = new();
        Tensor broken = given.Images.detach().clone();
        broken[3, 4] = tensor(float.NaN);
        Assert.Multiple(() =>
        {
            Refused(null!, given.Texts, given.LogitScale, "images", "");
            Refused(given.Images.flatten(), given.Texts, given.LogitScale, "images", "240");
            Refused(given.Images, given.Texts.narrow(0, 0, 11), given.LogitScale, "texts", "11 x 20");
            Refused(given.Images, given.Texts.narrow(1, 0, 19), given.LogitScale, "texts", "12 x 19");
            Refused(given.Images.narrow(0, 0, 0), given.Texts.narrow(0, 0, 0), given.LogitScale, "images", "0 x 20");
            Refused(given.Images, given.Texts.to(ScalarType.Int64), given.LogitScale, "texts", "Int64");
            Refused(given.Images, given.Texts, given.Images, "logitScale", "12 x 20");
            Refused(given.Images, given.Texts, tensor(1000f), "logitScale", "1000");
            Refused(given.Images, given.Texts, tensor(float.NaN), "logitScale", "NaN");
            Refused(broken, given.Texts, given.LogitScale, "images", "row 3");
            Refused(given.Images, broken, given.LogitScale, "texts", "column 4");
            Assert.That(() => new MoLoLoss(new MoLoOptions { Tau = 0 }), Throws.ArgumentException.With.Message.Contains("Tau"));
        });

        void Refused(Tensor images, Tensor texts, Tensor logitScale, string argument, string value) =>
            Assert.That(
                () => module.forward(images, texts, logitScale),
                Throws.InstanceOf<ArgumentException>().With.Property(nameof(ArgumentException.ParamName)).EqualTo(argument).And.Message.Contains(value));
    }

    [Test]
    public void A_warning_comes_once()
    {
        using TensorCase given = TensorCase.Random(2, 20);
        using MoLoLoss module = new();
        List<string> warnings = [];
        module.Warning += warnings.Add;
        for (int step = 0; step < 3; step++)
        {
            Assert.That(double.IsFinite(given.Run(module).Loss));
        }

        Assert.That(warnings, Has.Count.EqualTo(1));
    }

    [Test]
    public void Several_threads_train_with_one_module()
    {
        const int Threads = 4;
        using MoLoLoss module = new(threads: 1);
        Outcome[] alone = [.. Enumerable.Range(0, Threads).Select(RunCase)];
        Outcome[][] together = new Outcome[Threads][];
        Thread[] threads = [.. Enumerable.Range(0, Threads).Select(thread => new Thread(() =>
            together[thread] = [.. Enumerable.Range(0, TestLength.Pick(10, 1000)).Select(_ => RunCase(thread))]))];
        foreach (Thread thread in threads)
        {
            thread.Start();
        }

        foreach (Thread thread in threads)
        {
            thread.Join();
        }

        for (int thread = 0; thread < Threads; thread++)
        {
            foreach (Outcome outcome in together[thread])
            {
                Assert.That(outcome.Loss, Is.EqualTo(alone[thread].Loss));
                Assert.That(outcome.GradImages, Is.EqualTo(alone[thread].GradImages));
                Assert.That(outcome.GradTexts, Is.EqualTo(alone[thread].GradTexts));
            }
        }

        Outcome RunCase(int seed)
        {
            using TensorCase given = TensorCase.Random(16 + seed, 24, seed);
            return given.Run(module);
        }
    }

    private static float[] Floats(Tensor tensor) => [.. TensorCase.Values(tensor).Select(value => (float)value)];

    private static double[] Rounded(double[] values, ScalarType type)
    {
        using Tensor wide = tensor(values), narrow = wide.to(type);
        return TensorCase.Values(narrow);
    }
}
