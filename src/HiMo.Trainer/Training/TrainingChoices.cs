// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Which objective a run trains with.</summary>
internal enum TrainingLoss
{
    /// <summary>InfoNCE between images and whole texts: HiMo without its component branch.</summary>
    Plain,

    /// <summary>Both branches.</summary>
    Himo,
}

/// <summary>What a run sees of a caption.</summary>
internal enum CaptionUse
{
    /// <summary>All sentences, as <see cref="CaptionVariation"/> changes them.</summary>
    Whole,

    /// <summary>One sentence: the first, a random other one, or a filler. This is how the small base models are trained.</summary>
    OneSentence,
}

/// <summary>How a batch that goes through the encoders in parts makes its gradient.</summary>
internal enum Accumulation
{
    /// <summary>The loss of the whole batch: features first, without what backward needs, then each part once more. Gradients are those of the whole batch.</summary>
    Cached,

    /// <summary>The mean of the parts' losses, as in the authors' code: every pair meets the others of its part only.</summary>
    Plain,
}

/// <summary>The type of the products inside the encoders.</summary>
internal enum Precision
{
    /// <summary>Everything in float32.</summary>
    Float32,

    /// <summary>Products in bfloat16.</summary>
    Bfloat16,

    /// <summary>Products in float16, with a scaled loss.</summary>
    Float16,
}

/// <summary>Which parameters decay.</summary>
internal enum WeightDecayPolicy
{
    /// <summary>Those of two or more dimensions: no biases, gains or logit scale.</summary>
    Matrices,

    /// <summary>All, as in the authors' code.</summary>
    All,
}

/// <summary>How the learning rate goes on after the warm-up.</summary>
internal enum RateSchedule
{
    /// <summary>Half a cosine down to its final share.</summary>
    Cosine,

    /// <summary>As it is.</summary>
    Constant,

    /// <summary>As it is, and linearly down to its final share in the last steps.</summary>
    Cooldown,
}
