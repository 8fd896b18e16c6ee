package lima

const (
	installHint = "brew install lima"
	upgradeHint = "brew upgrade lima"
)
