// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace HiMo.Kernels.Tests.Interop;

internal sealed class HiDeComponentsTests
{
    private const double ValueTolerance = 1e-5;
    private const double GradientTolerance = 2e-4;

    [Test]
    public void Values_and_gradients_equal_the_reference(
        [Values(12, 30)] int rows, [Values(ScalarType.Float32, ScalarType.Float64)] ScalarType type, [Values] BasisGradient basis)
    {
        const int Columns = 20;
        using DisposeScope scope = NewDisposeScope();
        using TensorCase given = TensorCase.Random(rows, Columns);
        using HiDeComponents hide = new(basisGradient: basis);
        Tensor texts = F.normalize(given.Texts.detach(), dim: 1).to(type).requires_grad_(), outer = randn([rows, Columns]).to(type);
        Tensor components = hide.forward(texts);
        components.backward([outer], retain_graph: true);

        HiDeReferenceState state = HiDeReference.Forward(new(TensorCase.Values(texts), rows, Columns), 0.9);
        ReferenceMatrix gradient = HiDeReference.Backward(state, new(TensorCase.Values(outer), rows, Columns), basis);
        Assert.Multiple(() =>
        {
            Assert.That(hide.LastResult.M, Is.EqualTo(state.Result.M));
            Assert.That(hide.LastSpectrum, Has.Count.EqualTo(Math.Min(rows, Columns)));
            Assert.That(components.dtype, Is.EqualTo(type));
            Assert.That(texts.grad!.dtype, Is.EqualTo(type));
            Expect.Gradient(TensorCase.Values(components), state.Components.Elements, ValueTolerance, "u'");
            Expect.Gradient(TensorCase.Values(texts.grad!), gradient.Elements, GradientTolerance, "dx");
        });

        // Another batch in between, and the rows changed in place: the second backward is the same once more.
        double[] once = TensorCase.Values(texts.grad!);
        using (no_grad())
        {
            hide.forward(randn(5, 7)).Dispose();
            texts.zero_();
        }

        components.backward([outer]);
        Expect.Gradient(TensorCase.Values(texts.grad!), [.. once.Select(value => 2 * value)], 1e-6, "twice");
    }

    [Test]
    public void The_gradient_has_the_same_bits_whatever_came_between()
    {
        using DisposeScope scope = NewDisposeScope();
        using HiDeComponents hide = new();
        using TensorCase given = TensorCase.Random(12, 20);
        Tensor outer = randn(12, 20), other = F.normalize(randn(12, 20), dim: 1);
        double[] Gradient(Action between)
        {
            Tensor texts = F.normalize(given.Texts.detach(), dim: 1).requires_grad_();
            Tensor components = hide.forward(texts);
            between();
            components.backward([outer]);
            return TensorCase.Values(texts.grad!);
        }

        double[] kept = Gradient(() => { });
        Assert.That(Gradient(() => hide.forward(other)), Is.EqualTo(kept), "another batch of the same shape");
        Assert.That(Gradient(() => Assert.Throws<ArgumentException>(() => hide.forward(other * float.NaN))), Is.EqualTo(kept), "a batch that was refused");
        Assert.That(Gradient(hide.Dispose), Is.EqualTo(kept), "disposal");
    }

    [Test]
    public void Each_kind_of_warning_comes_once()
    {
        using DisposeScope scope = NewDisposeScope();
        using HiDeComponents hide = new(tau: 1.0);
        List<string> warnings = [];
        hide.Warning += warnings.Add;
        Tensor rows = F.normalize(randn(3, 12), dim: 1), axes = cat([eye(6), -eye(6)]);
        for (int call = 0; call < 3; call++)
        {
            hide.forward(rows);
        }

        Assert.That(warnings, Has.Count.EqualTo(1).And.One.Contains("components, all that the batch has"));
        using HiDeComponents cut = new(tau: 0.3);
        cut.Warning += warnings.Add;
        cut.forward(axes);
        cut.forward(axes);
        Assert.That(warnings, Has.Count.EqualTo(2).And.One.Contains("ill-conditioned"));
    }

    [Test]
    public void Frozen_texts_and_no_recording_make_no_graph()
    {
        using DisposeScope scope = NewDisposeScope();
        using HiDeComponents hide = new();
        Tensor texts = F.normalize(randn(8, 12), dim: 1);
        Assert.That(hide.forward(texts).requires_grad, Is.False);
        using (no_grad())
        {
            Assert.That(hide.forward(texts.requires_grad_()).requires_grad, Is.False);
        }

        Assert.That(hide.forward(texts).requires_grad);
    }

    [Test]
    public void A_gradient_that_is_not_finite_gives_NaN_and_the_process_goes_on()
    {
        using DisposeScope scope = NewDisposeScope();
        using HiDeComponents hide = new();
        Tensor texts = F.normalize(randn(8, 12), dim: 1).requires_grad_(), outer = ones(8, 12);
        outer[2, 3] = tensor(float.PositiveInfinity);
        hide.forward(texts).backward([outer]);
        Assert.That(TensorCase.Values(texts.grad!), Is.All.NaN);
    }

    [Test]
    public void A_second_differentiation_is_refused()
    {
        using DisposeScope scope = NewDisposeScope();
        using HiDeComponents hide = new();
        Tensor texts = F.normalize(randn(8, 12), dim: 1).requires_grad_();
        Tensor value = hide.forward(texts).square().sum();
        Assert.That(() => value.backward(create_graph: true), Throws.TypeOf<ExternalException>().With.Message.Contains("invalid gradient"));
    }

    [Test]
    public void Mistakes_are_found_in_forward_and_name_the_argument()
    {
        using DisposeScope scope = NewDisposeScope();
        using HiDeComponents hide = new();
        Tensor broken = randn(4, 6);
        broken[1, 2] = tensor(float.NaN);
        Assert.Multiple(() =>
        {
            Assert.That(() => hide.forward(randn(4)), Refusal("texts"));
            Assert.That(() => hide.forward(broken), Refusal("texts"));
            Assert.That(() => hide.forward(null!), Refusal("texts"));
            Assert.That(() => new HiDeComponents(tau: 1.5), Refusal("tau"));
        });

        static NUnit.Framework.Constraints.Constraint Refusal(string argument) =>
            Throws.InstanceOf<ArgumentException>().With.Property(nameof(ArgumentException.ParamName)).EqualTo(argument);
    }
}
