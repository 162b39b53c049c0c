// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>Images, texts and logit scale as leaves of an autograd graph, and one forward and backward of a loss module.</summary>
internal sealed class TensorCase : IDisposable
{
    public TensorCase(float[] images, float[] texts, int rows, int columns, double logitScale, ScalarType type = ScalarType.Float32)
    {
        using DisposeScope scope = NewDisposeScope();
        Images = tensor(images).reshape(rows, columns).to(type).requires_grad_().DetachFromDisposeScope();
        Texts = tensor(texts).reshape(rows, columns).to(type).requires_grad_().DetachFromDisposeScope();
        LogitScale = tensor(logitScale, type).requires_grad_().DetachFromDisposeScope();
    }

    public Tensor Images { get; }

    public Tensor Texts { get; }

    public Tensor LogitScale { get; }

    /// <summary>Random features of which texts have a decaying spectrum, so that m lies well inside.</summary>
    public static TensorCase Random(int rows, int columns, long seed = 1, ScalarType type = ScalarType.Float32, double logitScale = 2.5)
    {
        using DisposeScope scope = NewDisposeScope();
        Generator generator = new((ulong)seed);
        Tensor decay = arange(1, columns + 1).to(ScalarType.Float32).pow(-0.7);
        Tensor texts = randn([rows, columns], generator: generator) * decay;
        Tensor images = texts + (0.3 * randn([rows, columns], generator: generator) * decay);
        return new TensorCase(
            images.flatten().data<float>().ToArray(), texts.flatten().data<float>().ToArray(), rows, columns, logitScale, type);
    }

    /// <summary>Loss and gradients of one call.</summary>
    public Outcome Run(nn.Module<Tensor, Tensor, Tensor, Tensor> module)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor loss = module.forward(Images, Texts, LogitScale);
        loss.backward();
        Outcome outcome = new(Values(loss)[0], Values(Images.grad!), Values(Texts.grad!), Values(LogitScale.grad!)[0]);
        Images.grad!.zero_();
        Texts.grad!.zero_();
        LogitScale.grad!.zero_();
        return outcome;
    }

    public static double[] Values(Tensor tensor)
    {
        using DisposeScope scope = NewDisposeScope();
        return tensor.detach().to(ScalarType.Float64).contiguous().flatten().data<double>().ToArray();
    }

    /// <summary>No scope is kept open: tests of memory have to say themselves in which scope a step runs.</summary>
    public void Dispose()
    {
        Images.Dispose();
        Texts.Dispose();
        LogitScale.Dispose();
    }
}

/// <summary>A loss and its gradients as float64 values.</summary>
internal sealed record Outcome(double Loss, double[] GradImages, double[] GradTexts, double GradLogitScale);
