//! A prompt on its way through the decoder, one block after another.

use super::Gemma;
use super::generate::Limits;
use super::layout::Layout;
use crate::engine::Engine;
use crate::error::Error;
use crate::prompt::Prompt;
use crate::tokens::ControlTokens;

/// Lays a prompt out, once it is known that the model can take what it holds.
///
/// # Errors
/// When a medium cannot be prepared, the model has no encoder for it, or no room is left in the
/// context for a reply.
pub(crate) fn lay_out<E: Engine>(
    gemma: &Gemma<E>,
    prompt: &Prompt,
    ids: &ControlTokens,
    limits: Limits,
) -> Result<Layout, Error> {
    let seen = !prompt.images.is_empty() || !prompt.clips.is_empty();
    gemma.check_media(seen, !prompt.audio.is_empty())?;
    let known = |media| gemma.soft_tokens(media);
    let layout = Layout::new(prompt, ids, gemma.forms(limits.image_budget), known)?;
    let tokens = layout.slots().len();
    match tokens >= limits.context_tokens {
        true => Err(Error::PromptTooLong { tokens, limit: limits.context_tokens }),
        false => Ok(layout),
    }
}

/// Encodes a medium of the block that begins at `done` and is not known, or processes the block; how
/// many tokens are done then.
///
/// # Errors
/// When a medium cannot be prepared, or the engine fails.
pub(crate) fn step<E: Engine>(
    gemma: &mut Gemma<E>,
    layout: &mut Layout,
    limits: Limits,
    done: usize,
) -> Result<usize, Error> {
    let whole_images = gemma.config().images_see_all;
    let end = layout.block_end(done, limits.block_tokens, whole_images);
    let forms = gemma.forms(limits.image_budget);
    while let Some(span) = layout.unencoded(done, end) {
        span.features = gemma.encoded(span.media);
        if span.features.is_none() {
            let prepared = span.prepare(forms)?;
            span.features = Some(gemma.encode(span.media, &prepared)?);
            return Ok(done);
        }
    }
    let block = layout.block(done, end);
    let is_last = end == layout.slots().len();
    gemma.forward(&block, gemma.wanted(&block, usize::from(is_last)))?;
    if is_last {
        gemma.remember()?;
    }
    Ok(end)
}
