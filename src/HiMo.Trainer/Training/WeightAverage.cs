// SPDX-License-Identifier: Apache-2.0
using System.Runtime.InteropServices;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace HiMo.Trainer;

/// <summary>
/// The moving average of the trained weights: a = d a + (1 - d) w after every update, d = min(decay, (1 + n) / (10 + n)) at the n-th, so that
/// the start is soon forgotten.
/// </summary>
internal sealed class WeightAverage : IDisposable
{
    private readonly (string Name, Parameter Value)[] _parameters;
    private readonly Tensor[] _averages;
    private readonly double _decay;

    /// <summary>Starts at the weights as they are.</summary>
    /// <param name="parameters">Contiguous float32 parameters on one device by unique names.</param>
    /// <param name="decay">From 0 to below 1.</param>
    public WeightAverage(IEnumerable<(string Name, Parameter Value)> parameters, double decay)
    {
        _parameters = [.. parameters];
        _averages = [.. _parameters.Select(parameter => parameter.Value.detach().clone().DetachFromDisposeScope())];
        _decay = decay;
    }

    /// <summary>The averages under names of their own; written to them when a run is resumed.</summary>
    public IEnumerable<(string Name, Tensor Value)> Tensors => _parameters.Select((parameter, i) => ($"ema.{parameter.Name}", _averages[i]));

    /// <summary>Takes the weights in after an update.</summary>
    /// <param name="updates">Updates so far, this one included.</param>
    public void Update(long updates)
    {
        float rest = (float)(1.0 - Math.Min(_decay, (1.0 + updates) / (10.0 + updates)));
        for (int i = 0; i < _averages.Length; i++)
        {
            if (_averages[i].device_type == DeviceType.CPU)
            {
                Span<float> average = Elements(_averages[i]);
                TensorPrimitives.Lerp(average, Elements(_parameters[i].Value), rest, average);
            }
            else
            {
                Blend(_averages[i], _parameters[i].Value, rest);
            }
        }
    }

    /// <summary>(1 - rest) average + rest weights in torch operations, which run where the tensors lie.</summary>
    /// <param name="average">Receives it.</param>
    /// <param name="weights">Of the same shape.</param>
    /// <param name="rest">From 0 to 1.</param>
    internal static void Blend(Tensor average, Tensor weights, float rest)
    {
        using IDisposable constant = no_grad();
        using Scalar kept = 1.0f - rest, added = rest;
        _ = average.mul_(kept).add_(weights, added);
    }

    /// <summary>Puts the averages in the place of the weights, or the weights back: every second call undoes the one before.</summary>
    public void Swap()
    {
        using IDisposable constant = no_grad();
        for (int i = 0; i < _averages.Length; i++)
        {
            using Tensor kept = _averages[i].clone();
            _ = _averages[i].copy_(_parameters[i].Value);
            _ = _parameters[i].Value.copy_(kept);
        }
    }

    public void Dispose()
    {
        foreach (Tensor average in _averages)
        {
            average.Dispose();
        }
    }

    private static Span<float> Elements(Tensor tensor) => MemoryMarshal.Cast<byte, float>(tensor.bytes);
}
