// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// <see cref="FusedAdamW"/>'s update in torch operations, for parameters that lie on a GPU. A launch takes longer than the work on most parameters, so
/// each moment lies in one tensor and its operations run over all parameters at once; only the last ones are a parameter's own.
/// Source: Loshchilov and Hutter (arXiv:1711.05101).
/// </summary>
/// <remarks>Nothing waits for the device but <see cref="GradientNorm"/>. A step takes the memory of all gradients once more.</remarks>
internal sealed class TensorAdamW : IOptimizer
{
    private static readonly Scalar s_epsilon = FusedAdamW.Epsilon;

    private readonly (string Name, Parameter Value)[] _parameters;
    private readonly long[] _starts; // of each parameter in the moments, and their length
    private readonly Tensor _means;
    private readonly Tensor _squares;
    private readonly Tensor[] _meanOf; // views in the parameters' shapes
    private readonly Tensor[] _squareOf;
    private readonly double _beta1;
    private readonly double _beta2;
    private readonly double _weightDecay;
    private readonly WeightDecayPolicy _policy;

    /// <summary>Starts with moments of zero.</summary>
    /// <param name="parameters">Float32 parameters on one device by unique names, at least one.</param>
    /// <param name="beta1">Decay of the gradient's mean per step.</param>
    /// <param name="beta2">Decay of the squared gradient's mean per step.</param>
    /// <param name="weightDecay">Decoupled weight decay.</param>
    /// <param name="policy">Which parameters decay.</param>
    public TensorAdamW(IEnumerable<(string Name, Parameter Value)> parameters, double beta1, double beta2, double weightDecay, WeightDecayPolicy policy = WeightDecayPolicy.Matrices)
    {
        _parameters = [.. parameters];
        _starts = new long[_parameters.Length + 1];
        for (int i = 0; i < _parameters.Length; i++)
        {
            _starts[i + 1] = _starts[i] + _parameters[i].Value.numel();
        }

        Device device = _parameters[0].Value.device;
        (_means, _squares) = (Zeros(), Zeros());
        (_meanOf, _squareOf) = (Views(_means), Views(_squares));
        (_beta1, _beta2, _weightDecay, _policy) = (beta1, beta2, weightDecay, policy);

        Tensor Zeros() => zeros(_starts[^1], device: device).DetachFromDisposeScope();

        Tensor[] Views(Tensor all) => [.. _parameters.Select((parameter, i) => Part(all, i, 0).DetachFromDisposeScope())];
    }

    /// <inheritdoc/>
    public long Count { get; set; }

    /// <inheritdoc/>
    public IEnumerable<(string Name, Tensor Value)> Moments => FusedAdamW.Named(_parameters, _meanOf, _squareOf);

    /// <inheritdoc/>
    public double GradientNorm()
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor[] gradients = [.. _parameters.Select(parameter => parameter.Value.grad).OfType<Tensor>()];
        if (gradients.Length == 0)
        {
            return 0.0;
        }

        Tensor flat = Flat(gradients);
        return Math.Sqrt(flat.mul_(flat).sum(ScalarType.Float64).item<double>());
    }

    /// <inheritdoc/>
    public void Step(double rate, double gradientScale)
    {
        Count++;
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor?[] gradients = [.. _parameters.Select(parameter => parameter.Value.grad)];
        double correction1 = 1.0 - Math.Pow(_beta1, Count), correction2 = 1.0 - Math.Pow(_beta2, Count);

        // Scalars with names: one that only an argument holds may be collected during the call.
        using Scalar scale = (float)gradientScale, beta1 = (float)_beta1, beta2 = (float)_beta2, rest1 = 1.0f - (float)_beta1, rest2 = 1.0f - (float)_beta2;
        using Scalar keep = (float)(1.0 - (rate * _weightDecay)), step = (float)(-rate / correction1), inverseRoot = (float)(1.0 / Math.Sqrt(correction2));
        foreach ((int first, int end) in Runs(gradients))
        {
            Tensor gradient = Flat([.. gradients[first..end].Select(each => each!)]).mul_(scale);
            Tensor means = Run(_means), squares = Run(_squares);
            _ = means.mul_(beta1).add_(gradient, rest1);
            _ = squares.mul_(beta2).addcmul_(gradient, gradient, rest2);
            Tensor roots = gradient.copy_(squares).sqrt_().mul_(inverseRoot).add_(s_epsilon); // in the gradient's memory
            for (int i = first; i < end; i++)
            {
                Parameter value = _parameters[i].Value;
                if (_policy == WeightDecayPolicy.All || value.dim() >= 2)
                {
                    _ = value.mul_(keep);
                }

                _ = value.addcdiv_(_meanOf[i], Part(roots, i, first), step);
            }

            Tensor Run(Tensor all) => all.narrow(0, _starts[first], _starts[end] - _starts[first]);
        }
    }

    public void Dispose()
    {
        foreach (Tensor tensor in _meanOf.Concat(_squareOf).Append(_means).Append(_squares))
        {
            tensor.Dispose();
        }
    }

    /// <summary>All elements in a new tensor.</summary>
    private static Tensor Flat(Tensor[] gradients) => cat([.. gradients.Select(gradient => gradient.flatten())]);

    /// <summary>A parameter's elements, in its shape, of a tensor that begins with those of another one.</summary>
    private Tensor Part(Tensor all, int parameter, int first) =>
        all.narrow(0, _starts[parameter] - _starts[first], _starts[parameter + 1] - _starts[parameter]).view(_parameters[parameter].Value.shape);

    /// <summary>Neighbouring parameters that have gradients: nearly always all of them.</summary>
    private static IEnumerable<(int First, int End)> Runs(Tensor?[] gradients)
    {
        for (int first = 0, end; first < gradients.Length; first = end + 1)
        {
            end = Array.FindIndex(gradients, first, gradient => gradient is null);
            end = end < 0 ? gradients.Length : end;
            if (end > first)
            {
                yield return (first, end);
            }
        }
    }
}
