# Programs of the shell, unmodified: curl and git. Run as `sh client.sh NAME`.
set -e
case "$1" in
curl)
  curl -sS -H "Authorization: Bearer $OPENAI_API_KEY" -H 'Content-Type: application/json' \
    -d '{"model":"gpt-5","input":"hi"}' https://api.openai.com/v1/responses
  ;;
git)
  git ls-remote https://github.com/acme/site.git
  echo 'listed'
  ;;
esac
