// SPDX-License-Identifier: Apache-2.0
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Device memory of one call of <see cref="TrainingStepGpu.Run"/>; inputs and outputs must not overlap.</summary>
/// <typeparam name="T">Type of the features: float.</typeparam>
internal struct StepBuffers<T>
    where T : unmanaged
{
    /// <summary>N x d image features, row-major, not normalised, finite; one group after the other.</summary>
    public ArrayView<T> Images;

    /// <summary>N x d text features, as the images.</summary>
    public ArrayView<T> Texts;

    /// <summary>Images and texts of one group as they are stored, in the place of these; see <see cref="L2NormalizeGpu.TakesStored"/>. Empty: they are not.</summary>
    public GpuMatrix StoredImages;

    /// <inheritdoc cref="StoredImages"/>
    public GpuMatrix StoredTexts;

    /// <summary>One element: natural logarithm of the factor on the cosines, -100 to 80.</summary>
    public ArrayView<float> LogitScale;

    /// <summary>Receives dL/dimages, float32 for every type of feature.</summary>
    public ArrayView<float> GradImages;

    /// <summary>Receives dL/dtexts.</summary>
    public ArrayView<float> GradTexts;

    /// <summary>Receives <see cref="StepSummary.Length"/> numbers a group.</summary>
    public ArrayView<float> Summary;
}
